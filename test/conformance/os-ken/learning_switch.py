"""A learning switch for os-ken, in OpenFlow 1.0 and 1.3: one line of JSON per thing that it sees.

The version is taken from PLINTH_OPENFLOW ("1.0" or "1.3"); with PLINTH_SILENT=1 nothing is printed. Stations are told
apart by source address alone.
"""
import json
import os
import sys

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.packet import ethernet, packet
from os_ken.ofproto import ofproto_v1_0, ofproto_v1_3

IS_10 = os.environ.get("PLINTH_OPENFLOW") == "1.0"
IS_SILENT = os.environ.get("PLINTH_SILENT") == "1"


def say(**line):
    if IS_SILENT:
        return
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class LearningSwitch(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_0.OFP_VERSION if IS_10 else ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ports = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def on_features(self, event):
        datapath = event.msg.datapath
        say(event="features", version=datapath.ofproto.OFP_VERSION, dpid=datapath.id, tables=event.msg.n_tables)
        if not IS_10:
            parser, ofproto = datapath.ofproto_parser, datapath.ofproto
            actions = [parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, ofproto.OFPCML_NO_BUFFER)]
            apply = parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)
            datapath.send_msg(
                parser.OFPFlowMod(datapath=datapath, priority=0, match=parser.OFPMatch(), instructions=[apply])
            )
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        # Who dials a switch that listens must say that it wants packets.
        datapath.send_msg(parser.OFPSetConfig(datapath, ofproto.OFPC_FRAG_NORMAL, 128))
        datapath.send_barrier()

    @set_ev_cls(ofp_event.EventOFPBarrierReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def on_barrier(self, _event):
        say(event="ready")

    @set_ev_cls(ofp_event.EventOFPStateChange, DEAD_DISPATCHER)
    def on_dead(self, _event):
        say(event="gone")

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def on_error(self, event):
        say(event="error", type=event.msg.type, code=event.msg.code)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def on_port(self, event):
        name = event.msg.desc.name
        say(event="port", reason=event.msg.reason, name=name.decode() if isinstance(name, bytes) else name)

    @set_ev_cls(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)
    def on_removed(self, event):
        say(event="removed", reason=event.msg.reason, packets=event.msg.packet_count)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def on_packet(self, event):
        message = event.msg
        datapath = message.datapath
        parser, ofproto = datapath.ofproto_parser, datapath.ofproto
        in_port = message.in_port if IS_10 else message.match["in_port"]
        frame = packet.Packet(message.data).get_protocol(ethernet.ethernet)
        self.ports[frame.src] = in_port
        port = self.ports.get(frame.dst, ofproto.OFPP_FLOOD)
        say(event="packet", port=in_port, src=frame.src, dst=frame.dst, length=len(message.data))
        actions = [parser.OFPActionOutput(port)]
        if port != ofproto.OFPP_FLOOD:
            self.add_flow(datapath, in_port, frame, actions)
        datapath.send_msg(
            parser.OFPPacketOut(
                datapath=datapath,
                buffer_id=message.buffer_id,
                in_port=in_port,
                actions=actions,
                data=message.data if message.buffer_id == ofproto.OFP_NO_BUFFER else None,
            )
        )

    def add_flow(self, datapath, in_port, frame, actions):
        parser, ofproto = datapath.ofproto_parser, datapath.ofproto
        if IS_10:
            match = parser.OFPMatch(in_port=in_port, dl_dst=frame.dst, dl_src=frame.src)
            datapath.send_msg(
                parser.OFPFlowMod(
                    datapath=datapath,
                    match=match,
                    cookie=7,
                    command=ofproto.OFPFC_ADD,
                    idle_timeout=0,
                    hard_timeout=0,
                    priority=ofproto.OFP_DEFAULT_PRIORITY,
                    flags=ofproto.OFPFF_SEND_FLOW_REM,
                    actions=actions,
                )
            )
            return
        match = parser.OFPMatch(in_port=in_port, eth_dst=frame.dst, eth_src=frame.src)
        apply = parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)
        datapath.send_msg(
            parser.OFPFlowMod(
                datapath=datapath,
                priority=1,
                cookie=7,
                match=match,
                instructions=[apply],
                flags=ofproto.OFPFF_SEND_FLOW_REM,
            )
        )
