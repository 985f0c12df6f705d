"""Drives a server of the Open_vSwitch schema by Open vSwitch's own IDL for Python, and prints what it saw.

Usage: idl.py ENDPOINT. One JSON value a line: a name, and what two servers must agree on; no uuids are in it.
"""
import itertools
import json
import sys
import time
import uuid

import ovs.db.idl
import ovs.jsonrpc
import ovs.poller
import ovs.stream
from ovs.db.custom_index import OVSDB_INDEX_DESC
from ovs.db.idl import SchemaHelper, Transaction

DEADLINE_S = 60
MARKS = itertools.count()
TABLES = ["Open_vSwitch", "Bridge", "Port", "Interface", "Mirror", "QoS", "Queue", "Flow_Table", "Controller"]


def show(name, value):
    print(json.dumps([name, value], sort_keys=True, default=plain))


def plain(value):
    """Rows by name, uuids not at all."""
    if isinstance(value, ovs.db.idl.Row):
        return getattr(value, "name", None) or value._table.name
    if isinstance(value, uuid.UUID):
        return "a uuid"
    raise TypeError(value)


def tidy(value):
    """Sets have no order, and maps may have keys that JSON does not."""
    if isinstance(value, dict):
        return sorted([[str(key), tidy(one)] for key, one in value.items()])
    if isinstance(value, list):
        return sorted((tidy(one) for one in value), key=lambda one: json.dumps(one, default=plain))
    return value


class Client(ovs.db.idl.Idl):
    """An IDL that remembers what it is told of, and waits for conditions."""

    def __init__(self, remote, schema, tables=TABLES):
        helper = SchemaHelper(schema_json=schema)
        for table in tables:
            helper.register_table(table)
        self.events = []
        super().__init__(remote, helper)

    def notify(self, event, row, updates=None):
        old = {name: tidy(datum) for name, datum in old_values(row, updates).items()}
        self.events.append([event, row._table.name, plain(row), old])

    def until(self, condition, what):
        end = time.monotonic() + DEADLINE_S
        while True:
            self.run()
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise SystemExit(f"waited in vain for {what}")
            poller = ovs.poller.Poller()
            self.wait(poller)
            poller.timer_wait(200)
            poller.block()

    def rows_of(self, table):
        return list(self.tables[table].rows.values())

    def row(self, table, name):
        return next((one for one in self.rows_of(table) if one.name == name), None)

    def names(self, table):
        return sorted(row.name for row in self.rows_of(table))

    def dump(self):
        return {
            name: sorted(
                ({column: tidy(getattr(row, column)) for column in table.columns} for row in table.rows.values()),
                key=lambda row: json.dumps(row, default=plain, sort_keys=True),
            )
            for name, table in self.tables.items()
        }

    def told(self):
        events, self.events = self.events, []
        return sorted(events, key=lambda one: json.dumps(one, default=plain))


def old_values(row, updates):
    if updates is None or updates._data is None:
        return {}
    return {name: datum.to_python(row._uuid_to_row) for name, datum in updates._data.items()}


def commit(client, change, name):
    """Builds a transaction by `change` and shows how it ended; returns it with what `change` returned."""
    txn = Transaction(client)
    made = change(txn)
    status = txn.commit_block()
    told = [Transaction.status_to_string(status)]
    if status == Transaction.ERROR:
        told.append(json.loads(txn.get_error())["error"])
    show(name, told)
    return txn, made


def insert(txn, client, table, **columns):
    row = txn.insert(client.tables[table])
    for name, value in columns.items():
        setattr(row, name, value)
    return row


def add_port(txn, client, bridge, name, **columns):
    interface = insert(txn, client, "Interface", name=name)
    port = insert(txn, client, "Port", name=name, interfaces=[interface], **columns)
    bridge.addvalue("ports", port)
    return port


def call(endpoint, *requests):
    """Requests on a plain connection, which is returned, with their results or errors."""
    error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(endpoint))
    assert error == 0
    connection = ovs.jsonrpc.Connection(stream)
    replies = []
    for method, params in requests:
        error, reply = connection.transact_block(ovs.jsonrpc.Message.create_request(method, params))
        assert error == 0
        replies.append(reply.result if reply.error is None else ["error", reply.error])
    return connection, replies


def in_step(*clients):
    """Everybody has seen what there is: a change of which all are told has come to each."""
    mark = str(next(MARKS))
    txn = Transaction(clients[0])
    root(clients[0]).setkey("external_ids", "mark", mark)
    assert txn.commit_block() == Transaction.SUCCESS
    for client in clients:
        client.until(lambda client=client: root(client).external_ids.get("mark") == mark, "the mark")
    for client in clients:
        client.events = [
            one for one in client.events if one[1] != "Open_vSwitch" or list(one[3]) != ["external_ids"]
        ]


def root(client):
    return client.rows_of("Open_vSwitch")[0]


def transactions(a, b):
    def first(txn):
        top = insert(txn, a, "Open_vSwitch")
        bridge = insert(txn, a, "Bridge", name="br0", external_ids={"k": "v", "ü": "\u2603 \U0001f600 \"\\"})
        top.bridges = [bridge]
        for name in ["br0", "p1", "p2"]:
            add_port(txn, a, bridge, name)
        txn.add_comment("a first transaction")
        return bridge

    txn, bridge = commit(a, first, "insert with references to rows to come")
    a.until(lambda: a.row("Bridge", "br0"), "the bridge")
    show("the row has the uuid that was told", a.row("Bridge", "br0").uuid == txn.get_insert_uuid(bridge.uuid))
    in_step(a, b)
    show("what b was told of it", b.told())
    a.told()

    txn, _ = commit(a, lambda txn: (root(a).increment("next_cfg"), setattr(a.row("Port", "p1"), "tag", 5)), "increment")
    show("its new value", txn.get_increment_new_value())
    commit(a, lambda txn: setattr(a.row("Port", "p1"), "tag", 5), "nothing new")
    commit(a, lambda txn: (a.row("Port", "p1").delvalue("trunks", 3), a.row("Port", "p1").addvalue("trunks", 7),
                           a.row("Port", "p1").addvalue("trunks", 8)), "add and take values of a set")
    commit(a, lambda txn: (a.row("Port", "p1").setkey("external_ids", "a", "1"),
                           a.row("Port", "p1").setkey("external_ids", "b", "2"),
                           a.row("Port", "p2").setkey("external_ids", "a", "3")), "set keys")
    commit(a, lambda txn: (a.row("Port", "p1").setkey("external_ids", "a", "9"),
                           a.row("Port", "p1").delkey("external_ids", "b"),
                           a.row("Port", "p2").delkey("external_ids", "a", "other")), "change and take keys")
    commit(a, lambda txn: (a.row("Port", "p1").addvalue("trunks", 5000)), "a value out of its range")
    commit(a, lambda txn: setattr(a.row("Port", "p1"), "vlan_mode", "sideways"), "a value not of its enumeration")
    commit(a, lambda txn: insert(txn, a, "Bridge", name="br0"), "an index twice")
    commit(a, lambda txn: a.row("Port", "br0").delete(), "a row that is referred to")
    commit(a, lambda txn: insert(txn, a, "Port", name="alone"), "too few references")
    commit(a, lambda txn: insert(txn, a, "Bridge", name="unused"), "a row that nothing refers to")

    def dry(txn):
        txn.dry_run = True
        a.row("Bridge", "br0").fail_mode = "secure"

    commit(a, dry, "a dry run")
    show("changed nothing", a.row("Bridge", "br0").fail_mode)

    def parts(txn):
        queues = {n: insert(txn, a, "Queue", dscp=n, other_config={"max-rate": str(10**n)}) for n in (0, 9)}
        a.row("Port", "p1").qos = [insert(txn, a, "QoS", type="linux-htb", queues=queues)]
        table = insert(txn, a, "Flow_Table", name="t", groups=["NXM_OF_IN_PORT[]"], flow_limit=3)
        a.row("Bridge", "br0").flow_tables = {7: table}
        mirror = insert(txn, a, "Mirror", name="m", select_src_port=[a.row("Port", "p1"), a.row("Port", "p2")],
                        output_port=[a.row("Port", "p2")], select_vlan=[1, 2, 4095])
        a.row("Bridge", "br0").mirrors = [mirror]

    commit(a, parts, "maps of rows, weak references, sets of numbers")
    commit(a, lambda txn: a.row("Bridge", "br0").delvalue("ports", a.row("Port", "p2")), "a port goes")
    in_step(a, b)
    show("what b was told of all that", b.told())
    show("and it has", b.dump())
    show("as a has", a.dump() == b.dump())


def conflicts(a, b):
    commit(a, lambda txn: (a.row("Bridge", "br0").verify("fail_mode"),
                           setattr(a.row("Bridge", "br0"), "fail_mode", "secure")), "verified, and nobody came between")
    in_step(a, b)
    commit(b, lambda txn: setattr(b.row("Bridge", "br0"), "fail_mode", "standalone"), "somebody comes between")
    # a has not read that yet.
    commit(a, lambda txn: (a.row("Bridge", "br0").verify("fail_mode"),
                           setattr(a.row("Bridge", "br0"), "stp_enable", True)), "verified too late")
    in_step(a, b)
    commit(a, lambda txn: (a.row("Bridge", "br0").verify("fail_mode"),
                           setattr(a.row("Bridge", "br0"), "stp_enable", True)), "once more")
    in_step(a, b)
    commit(b, lambda txn: b.row("Bridge", "br0").delvalue("ports", b.row("Port", "p1")), "a row is taken away")
    commit(a, lambda txn: setattr(a.row("Port", "p1"), "tag", 8), "and written by who does not know")
    in_step(a, b)
    show("after the conflicts", [a.row("Bridge", "br0").fail_mode, a.row("Bridge", "br0").stp_enable, a.names("Port")])
    a.told(), b.told()


def conditions(a, b, remote, schema):
    def more(txn):
        for n in range(5):
            bridge = insert(txn, a, "Bridge", name=f"c{n}", external_ids={"n": str(n % 2)})
            root(a).addvalue("bridges", bridge)
            add_port(txn, a, bridge, f"c{n}", tag=n)

    commit(a, more, "more bridges")
    c = Client(remote, schema)
    c.cond_change("Bridge", [["name", "==", "br0"], ["external_ids", "includes", ["map", [["n", "1"]]]]])
    c.cond_change("Port", [["tag", "==", 4], ["name", "==", "c0"]])
    c.cond_change("Interface", [])
    c.until(lambda: c.has_ever_connected() and c.rows_of("Open_vSwitch"), "a conditional client")
    seen = lambda: [c.names("Bridge"), c.names("Port"), c.names("Interface")]
    show("by conditions", seen())
    c.told()

    def change(name, table, condition):
        c.cond_change(table, condition)
        state = c.tables[table].condition_state
        c.until(lambda: state.new is None and state.requested is None, "the condition")
        show(name, [seen(), c.told()])

    change("one more condition", "Bridge", [["name", "==", "br0"], ["name", "==", "c2"]])
    change("everything", "Bridge", [True])
    change("nothing", "Port", [])
    change("unequal", "Port", [["name", "!=", "c1"]])
    change("by a reference", "Bridge", [["ports", "includes", ["uuid", str(a.row("Port", "c3").uuid)]]])
    # Not by uuid: a change of such a row ends ovsdb-server 3.1.
    change("by name", "Bridge", [["name", "==", "c4"]])
    commit(a, lambda txn: (setattr(a.row("Port", "c1"), "tag", 100), setattr(a.row("Bridge", "c4"), "fail_mode", "secure"),
                           setattr(a.row("Bridge", "c1"), "fail_mode", "secure")), "rows shown and not")
    in_step(a, c)
    show("what a conditional client was told", [seen(), c.told()])

    # It loses its connection, and the world goes on.
    c.force_reconnect()
    commit(a, lambda txn: (setattr(a.row("Port", "c1"), "tag", 101), a.row("Bridge", "c4").delete(),
                           root(a).delvalue("bridges", a.row("Bridge", "c4")),
                           setattr(a.row("Port", "c2"), "external_ids", {"x": "y"})), "while it is away")
    in_step(a, c)
    show("it has caught up", [seen(), c.dump()])
    # What it was told meanwhile is all there is, or what it had missed, as the server remembers.
    c.told()
    change("and takes conditions", "Bridge", [["name", "==", "c0"]])
    c.force_reconnect()
    c.cond_change("Bridge", [["name", "==", "c1"], ["name", "==", "c3"]])
    c.cond_change("Interface", [["name", "==", "c3"]])
    in_step(a, c)
    c.until(lambda: c.names("Interface") == ["c3"], "the new condition")
    show("also while it reconnects", [seen(), c.dump()])
    b.force_reconnect()
    in_step(a, b)
    show("one without conditions, too", b.dump() == a.dump())
    c.close()
    a.told(), b.told()


def locks(a, b, remote):
    state = lambda: [[one.has_lock, one.is_lock_contended] for one in (a, b)]
    a.set_lock("mine")
    a.until(lambda: a.has_lock, "the lock")
    b.set_lock("mine")
    b.until(lambda: b.is_lock_contended, "the queue")
    show("one holds, one waits", state())
    commit(a, lambda txn: setattr(a.row("Bridge", "c0"), "stp_enable", True), "by the holder")
    commit(b, lambda txn: setattr(b.row("Bridge", "c0"), "stp_enable", False), "by who waits")
    thief, _ = call(remote, ("steal", ["mine"]))
    commit(a, lambda txn: setattr(a.row("Bridge", "c0"), "stp_enable", False), "by who was robbed and does not know")
    a.until(lambda: not a.has_lock, "the theft")
    show("robbed", state())
    thief.close()
    a.until(lambda: a.has_lock, "the lock again")
    a.set_lock(None)
    b.until(lambda: b.has_lock, "the turn")
    show("the next one", state())
    commit(b, lambda txn: setattr(b.row("Bridge", "c0"), "stp_enable", False), "by the next one")
    b.set_lock("other")
    b.until(lambda: b.has_lock, "another lock")
    b.set_lock(None)
    in_step(a, b)


def indexes(a, remote, schema):
    d = Client(remote, schema)
    by_name = d.index_create("Port", "by name")
    by_name.add_column("name", OVSDB_INDEX_DESC)
    d.index_create("Bridge", "by mode").add_columns("stp_enable", "name")
    d.until(lambda: d.rows_of("Open_vSwitch"), "an indexed client")
    in_step(a, d)
    show("in the order of an index", [row.name for row in by_name])
    port = d.tables["Port"].rows.IndexEntry
    show("from one to another", [row.name for row in d.index_irange("Port", "by name", port(name="c2"), port(name="br0"))])
    show("one of them", [row.name for row in d.index_equal("Port", "by name", port(name="c3"))])
    commit(a, lambda txn: (setattr(a.row("Bridge", "c0"), "stp_enable", True),
                           add_port(txn, a, a.row("Bridge", "c0"), "c00")), "indexed rows change")
    in_step(a, d)
    show("and the index with them", [[row.name for row in by_name],
                                     [row.name for row in d.tables["Bridge"].rows.indexes["by mode"]]])
    commit(d, lambda txn: d.row("Bridge", "c0").fetch("datapath_id"), "a column fetched")
    d.close()


def plain_requests(remote):
    nobody = ["uuid", "00000000-0000-0000-0000-000000000001"]
    chosen = str(uuid.uuid4())
    connection, replies = call(
        remote,
        ("echo", []),
        ("echo", ["x", {"y": [1, None]}]),
        ("list_dbs", []),
        ("get_schema", ["nope"]),
        ("nope", []),
        ("transact", ["Open_vSwitch"]),
        ("transact", ["Open_vSwitch", {"op": "select", "table": "Bridge", "where": [["_uuid", "==", nobody]]}]),
        ("transact", ["Open_vSwitch", {"op": "insert", "table": "QoS", "uuid": chosen, "row": {"type": "t"}}]),
        ("transact", ["Open_vSwitch", {"op": "insert", "table": "QoS", "uuid": chosen, "row": {"type": "u"}}]),
        ("transact", ["Open_vSwitch", {"op": "wait", "table": "QoS", "where": [], "columns": ["type"],
                                       "until": "==", "rows": [{"type": "u"}], "timeout": 0}]),
        ("transact", ["Open_vSwitch", {"op": "delete", "table": "QoS", "where": [["type", "==", "t"]]}]),
        ("monitor_cancel", ["nothing"]),
        ("unlock", ["nothing"]),
        ("set_db_change_aware", [True]),
    )
    connection.close()
    connection, ids = call(remote, ("get_server_id", []), ("get_server_id", []))
    connection.close()
    show("one id of the server", [ids[0] == ids[1], str(uuid.UUID(ids[0])) == ids[0]])
    show("plain requests", json.loads(json.dumps(replies).replace(chosen, "chosen")))


def main(remote):
    _, (schema,) = call(remote, ("get_schema", ["Open_vSwitch"]))
    a = Client(f"unix:/nowhere/db.sock,{remote}", schema)
    b = Client(remote, schema)
    for client in (a, b):
        client.until(client.has_ever_connected, "a connection")
    transactions(a, b)
    conflicts(a, b)
    conditions(a, b, remote, schema)
    locks(a, b, remote)
    indexes(a, remote, schema)
    plain_requests(remote)
    a.close()
    b.close()


main(sys.argv[1])
