"""Asks an OpenFlow 1.3 switch everything that os-ken can ask, and changes what can be changed.

Prints one line of JSON: what was asked, and what os-ken made of the answer. Errors that the switch sends are lines too.
"""
import json
import sys

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub, ofctl_v1_3
from os_ken.ofproto import ofproto_v1_3


def say(**line):
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


class AsksEverything(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.waiters = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def on_features(self, event):
        hub.spawn(self.run, event.msg.datapath)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def on_error(self, event):
        say(asked="error", answer=[event.msg.type, event.msg.code])

    @set_ev_cls(
        [
            ofp_event.EventOFPDescStatsReply,
            ofp_event.EventOFPFlowStatsReply,
            ofp_event.EventOFPAggregateStatsReply,
            ofp_event.EventOFPTableStatsReply,
            ofp_event.EventOFPTableFeaturesStatsReply,
            ofp_event.EventOFPPortStatsReply,
            ofp_event.EventOFPQueueStatsReply,
            ofp_event.EventOFPQueueGetConfigReply,
            ofp_event.EventOFPMeterStatsReply,
            ofp_event.EventOFPMeterFeaturesStatsReply,
            ofp_event.EventOFPMeterConfigStatsReply,
            ofp_event.EventOFPGroupStatsReply,
            ofp_event.EventOFPGroupFeaturesStatsReply,
            ofp_event.EventOFPGroupDescStatsReply,
            ofp_event.EventOFPPortDescStatsReply,
            ofp_event.EventOFPRoleReply,
            ofp_event.EventOFPGetConfigReply,
            ofp_event.EventOFPGetAsyncReply,
            ofp_event.EventOFPBarrierReply,
        ],
        MAIN_DISPATCHER,
    )
    def on_reply(self, event):
        message = event.msg
        waiting = self.waiters.get(message.datapath.id, {})
        if message.xid not in waiting:
            return
        lock, messages = waiting[message.xid]
        messages.append(message)
        more = getattr(message, "flags", 0) & message.datapath.ofproto.OFPMPF_REPLY_MORE
        if message.msg_type == message.datapath.ofproto.OFPT_GET_CONFIG_REPLY or not more:
            del waiting[message.xid]
            lock.set()

    def ask(self, name, call, datapath, *args):
        say(asked=name, answer=call(datapath, self.waiters, *args))

    def run(self, datapath):
        while datapath.state != MAIN_DISPATCHER:
            hub.sleep(0.05)
        ctl = ofctl_v1_3
        add, modify, delete = (
            datapath.ofproto.OFPFC_ADD,
            datapath.ofproto.OFPFC_MODIFY,
            datapath.ofproto.OFPFC_DELETE,
        )
        ctl.mod_meter_entry(
            datapath,
            {"meter_id": 1, "flags": ["KBPS", "BURST", "STATS"], "bands": [{"type": "DROP", "rate": 1000, "burst_size": 100}]},
            datapath.ofproto.OFPMC_ADD,
        )
        ctl.mod_group_entry(
            datapath,
            {"group_id": 1, "type": "SELECT", "buckets": [{"weight": 1, "actions": [{"type": "OUTPUT", "port": 1}]}]},
            datapath.ofproto.OFPGC_ADD,
        )
        flow = {
            "table_id": 2,
            "priority": 9,
            "cookie": 5,
            "match": {"eth_type": 0x0800, "ipv4_src": "10.0.0.0/8", "ip_proto": 6, "tcp_dst": 80},
            "actions": [
                {"type": "METER", "meter_id": 1},
                {"type": "SET_FIELD", "field": "ipv4_dst", "value": "10.1.1.1"},
                {"type": "WRITE_ACTIONS", "actions": [{"type": "GROUP", "group_id": 1}]},
                {"type": "WRITE_METADATA", "metadata": 0x55, "metadata_mask": 0xff},
                {"type": "GOTO_TABLE", "table_id": 3},
            ],
        }
        ctl.mod_flow_entry(datapath, flow, add)
        ctl.mod_flow_entry(datapath, {**flow, "actions": flow["actions"][1:]}, modify)
        self.ask("desc", ctl.get_desc_stats, datapath)
        self.ask("flow", ctl.get_flow_stats, datapath)
        self.ask("aggregate", ctl.get_aggregate_flow_stats, datapath)
        self.ask("table", ctl.get_table_stats, datapath)
        self.ask("table_features", ctl.get_table_features, datapath)
        self.ask("port", ctl.get_port_stats, datapath)
        self.ask("port_desc", ctl.get_port_desc, datapath)
        self.ask("queue", ctl.get_queue_stats, datapath)
        self.ask("queue_config", ctl.get_queue_config, datapath)
        self.ask("meter", ctl.get_meter_stats, datapath)
        self.ask("meter_features", ctl.get_meter_features, datapath)
        self.ask("meter_config", ctl.get_meter_config, datapath)
        self.ask("group", ctl.get_group_stats, datapath)
        self.ask("group_features", ctl.get_group_features, datapath)
        self.ask("group_desc", ctl.get_group_desc, datapath)
        self.ask("role", ctl.get_role, datapath)
        ctl.set_role(datapath, {"role": "MASTER", "generation_id": 3})
        self.ask("role_set", ctl.get_role, datapath)
        port = datapath.ports[1]
        ctl.mod_port_behavior(
            datapath,
            {
                "port_no": 1,
                "hw_addr": port.hw_addr,
                "config": datapath.ofproto.OFPPC_NO_FWD,
                "mask": datapath.ofproto.OFPPC_NO_FWD,
                "advertise": 0,
            },
        )
        # A second group of the same number is refused, and so is a flow to a group that is not there.
        ctl.mod_group_entry(datapath, {"group_id": 1, "type": "ALL", "buckets": []}, datapath.ofproto.OFPGC_ADD)
        ctl.mod_flow_entry(
            datapath, {**flow, "actions": [{"type": "GROUP", "group_id": 9}]}, add
        )
        ctl.mod_flow_entry(datapath, {"table_id": datapath.ofproto.OFPTT_ALL, "match": {}}, delete)
        self.ask("flow_after", ctl.get_flow_stats, datapath)
        say(asked="end", answer=None)
