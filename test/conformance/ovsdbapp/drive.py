"""Drives a server of the Open_vSwitch schema by ovsdbapp, which OpenStack Neutron and OVN agents stand on.

Usage: drive.py ENDPOINT [alone]. "alone" is a database without a switch, whose answer is not waited for then. One JSON value a line: a name, and what two servers must agree on; no uuids are in it.
"""
import json
import sys
import threading
import uuid

from ovs.db.idl import Row
from ovsdbapp.backend.ovs_idl import connection, event, rowview
from ovsdbapp.schema.open_vswitch import impl_idl

DEADLINE_S = 60


def plain(value):
    """Rows by name, uuids not at all; lists are sets, which have no order, tuples have one."""
    if isinstance(value, rowview.RowView):
        value = value._row
    if isinstance(value, Row):
        return getattr(value, "name", None) or getattr(value, "target", None) or value._table.name
    if isinstance(value, uuid.UUID):
        return "a uuid"
    if isinstance(value, dict):
        return sorted([[str(key), plain(one)] for key, one in value.items()])
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if isinstance(value, (list, set)):
        return sorted((plain(one) for one in value), key=json.dumps)
    return value


def show(name, value):
    print(json.dumps([name, plain(value)]), flush=True)


def refused(name, work):
    """What went wrong, without what names objects in memory."""
    try:
        show(name, ("done", work()))
    except Exception as error:
        print(json.dumps([name, "refused", type(error).__name__]), flush=True)


class Heard(event.RowEvent):
    """Bridges or ports that come and go; what a switch writes into them is not compared."""

    event_name = "Heard"

    def __init__(self, table):
        self.seen = []
        super().__init__((self.ROW_CREATE, self.ROW_DELETE), table, None)

    def run(self, kind, row, old):
        self.seen.append((kind, row.name))


class Comes(event.WaitEvent):
    event_name = "Comes"

    def __init__(self, name, kind="create", table="Port"):
        super().__init__((kind,), table, (("name", "=", name),), timeout=DEADLINE_S)


def main(endpoint, alone=None):
    idl = connection.OvsdbIdl.from_server(endpoint, "Open_vSwitch")
    idl.notify_handler = event.RowEventHandler()
    idl.notify = idl.notify_handler.notify
    link = connection.Connection(idl, timeout=DEADLINE_S)
    api = impl_idl.OvsdbIdl(link)
    if alone is not None:
        impl_idl.OvsVsctlTransaction.do_post_commit = lambda self, txn: None

    def run(command):
        return command.execute(check_error=True)

    heard = [Heard("Bridge"), Heard("Port")]
    for one in heard:
        idl.notify_handler.watch_event(one)

    run(api.add_br("br0"))
    run(api.add_br("br0"))
    run(api.add_br("br1", datapath_type="netdev"))
    refused("a bridge twice", lambda: run(api.add_br("br0", may_exist=False)))
    show("bridges", run(api.list_br()))
    show("there, and not there", (run(api.br_exists("br0")), run(api.br_exists("br9"))))
    show("type", run(api.db_get("Bridge", "br1", "datapath_type")))

    comes = Comes("p0")
    idl.notify_handler.watch_event(comes)
    with api.transaction(check_error=True) as txn:
        for name in ("p0", "p1", "p2"):
            txn.add(api.add_port("br0", name))
            txn.add(api.db_set("Interface", name, ("type", "internal"), ("external_ids", {"iface-id": name})))
            txn.add(api.db_set("Port", name, ("tag", 7)))
    show("came", comes.wait())
    run(api.add_port("br0", "p0"))
    refused("a port twice", lambda: run(api.add_port("br0", "p0", may_exist=False)))
    refused("a port on another bridge", lambda: run(api.add_port("br1", "p0", may_exist=False)))
    show("ports", run(api.list_ports("br0")))
    show("interfaces", run(api.list_ifaces("br0")))
    show("bridge of", (run(api.port_to_br("p1")), run(api.iface_to_br("p1"))))
    refused("bridge of nobody", lambda: run(api.port_to_br("p9")))

    run(api.br_set_external_id("br0", "k", "v"))
    run(api.iface_set_external_id("p0", "attached-mac", "00:11:22:33:44:55"))
    show("ids", (run(api.br_get_external_id("br0", "k")), run(api.iface_get_external_id("p0", "attached-mac"))))
    run(api.set_fail_mode("br0", "secure"))
    refused("another mode", lambda: run(api.set_fail_mode("br0", "lazy")))
    run(api.set_controller("br0", ["tcp:127.0.0.1:1", "ptcp:0:127.0.0.1"]))
    show("controllers", run(api.get_controller("br0")))
    run(api.del_controller("br0"))
    show("no controllers", run(api.get_controller("br0")))
    run(api.add_manager("ptcp:0:127.0.0.1"))
    show("managers", run(api.get_manager()))
    run(api.remove_manager("ptcp:0:127.0.0.1"))
    show("no managers", run(api.get_manager()))

    run(api.db_set("Port", "p0", ("trunks", [1, 2, 3]), ("vlan_mode", "trunk"), ("other_config", {"a": "b"})))
    run(api.db_add("Port", "p0", "trunks", 4, 5))
    run(api.db_add("Port", "p0", "other_config", {"c": "d"}))
    run(api.db_remove("Port", "p0", "trunks", 2, 9, if_exists=True))
    run(api.db_remove("Port", "p0", "other_config", "a"))
    run(api.db_clear("Port", "p0", "tag"))
    show("columns", tuple(run(api.db_get("Port", "p0", name)) for name in ("trunks", "tag", "other_config", "vlan_mode")))
    refused("a tag that is none", lambda: run(api.db_set("Port", "p0", ("tag", 5000))))
    refused("a mode that is none", lambda: run(api.db_set("Port", "p0", ("vlan_mode", "x"))))
    refused("a row that is not there", lambda: run(api.db_set("Port", "p9", ("tag", 5))))
    show("lists", run(api.db_list("Port", ["p1", "p2"], columns=["name", "tag"])))
    show("lists some", run(api.db_list("Port", ["p1", "p9"], columns=["name"], if_exists=True)))
    show("finds", run(api.db_find("Port", ("tag", "=", 7), columns=["name"])))
    show("finds in maps", run(api.db_find("Interface", ("external_ids", "=", {"iface-id": "p1"}), columns=["name", "type"])))
    show("finds rows", run(api.db_find_rows("Port", ("name", "!=", "br0"))))

    with api.transaction(check_error=True) as txn:
        queue = txn.add(api.db_create("Queue", other_config={"max-rate": "1000"}, dscp=5))
        qos = txn.add(api.db_create("QoS", type="linux-htb", queues={0: queue, 7: queue}))
        txn.add(api.db_set("Port", "p1", ("qos", qos)))
    show("queues", {key: one.dscp for key, one in run(api.db_list_rows("QoS"))[0].queues.items()})
    with api.transaction(check_error=True) as txn:
        mirror = txn.add(api.db_create("Mirror", name="m0", select_all=True))
        txn.add(api.db_add("Bridge", "br0", "mirrors", mirror))
    show("mirrors", run(api.db_get("Bridge", "br0", "mirrors")))

    with api.transaction(check_error=True) as txn:
        tls = txn.add(api.db_create("SSL", private_key="/k", certificate="/c", ca_cert="/a", bootstrap_ca_cert=True))
        txn.add(api.db_set("Open_vSwitch", ".", ("ssl", tls)))
    show("TLS", tuple(run(api.db_get("SSL", ".", name)) for name in ("private_key", "bootstrap_ca_cert")))
    run(api.db_clear("Open_vSwitch", ".", "ssl"))
    show("no TLS", run(api.db_list("SSL")))

    def broken():
        with api.transaction(check_error=True) as txn:
            txn.add(api.add_port("br0", "p7"))
            txn.add(api.db_create("QoS", type="x", queues={2**33: uuid.uuid4()}))
            txn.add(api.db_add("Bridge", "br9", "flood_vlans", 7))

    refused("half a transaction", broken)
    show("nothing of it", run(api.list_ports("br0")))

    # Twenty threads, each with bridges and ports of its own, and one map that all of them write.
    def work(number):
        run(api.add_port("br1", f"t{number}"))
        run(api.db_set("Bridge", "br1", ("external_ids", {f"t{number}": "x"})))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    show("of all threads", (run(api.list_ports("br1")), run(api.db_get("Bridge", "br1", "external_ids"))))

    goes = Comes("p2", "delete")
    idl.notify_handler.watch_event(goes)
    run(api.del_port("p2", bridge="br0"))
    show("went", goes.wait())
    run(api.del_port("p9"))
    refused("a port that is not there", lambda: run(api.del_port("p9", if_exists=False)))
    with api.transaction(check_error=True) as txn:
        txn.add(api.db_destroy("QoS", run(api.db_list_rows("QoS"))[0].uuid))
        txn.add(api.db_clear("Port", "p1", "qos"))
    run(api.del_br("br0"))
    # Events come from a thread of their own, which what is compared must not outrun.
    last = [Comes("br1", "delete", table) for table in ("Bridge", "Port")]
    for one in last:
        idl.notify_handler.watch_event(one)
    run(api.del_br("br1"))
    show("gone", [one.wait() for one in last])
    run(api.del_br("br9"))
    show("left", (run(api.list_br()), run(api.db_list("Port")), run(api.db_list("Mirror"))))
    idl.notify_handler.shutdown()
    for one in heard:
        # The threads come in any order.
        show("heard", one.seen)
    link.stop(DEADLINE_S)


main(*sys.argv[1:])
