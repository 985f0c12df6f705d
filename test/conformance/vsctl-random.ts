// Random command lines for ovs-vsctl and `plinth vsctl`, right ones and wrong ones: words apart by blanks, ␣ for a blank in
// a word, §TABLE:NAME§ for a row's uuid.
import fc from "fast-check";

const of = fc.constantFrom;
const BRIDGE = of("br0", "br0", "br0", "br1", "fake", "nope", "p0");
const PORT = of("p0", "p0", "p1", "b0", "br0", "nope");
const INTERFACE = of("p0", "i0", "i1", "br1");
const VLAN = of("0", "1", "7", "4095", "4096", "x", "7x", "-1", "[]", "+5");
const TARGET = of(
  "tcp:1.2.3.4",
  "tcp:1.2.3.4:6633",
  "x",
  "ptcp:",
  "unix:/x",
  "punix:/x",
  "ssl:[::1]:6653",
  "none:",
);

/** Those that people use, some shortened or written otherwise, one that is none. */
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  Bridge: [
    ...[
      "name",
      "fail_mode",
      "fail-mode",
      "stp_enable",
      "ports",
      "controller",
      "mirrors",
      "protocols",
      "flood_vlans",
    ],
    ...[
      "external_ids",
      "external-ids:k",
      "other_config:hwaddr",
      "other_config",
      "datapath_id",
      "flow_tables:0",
    ],
    ...["_uuid", "nope", "mcast", "st", "netflow", "_version", "DATAPATH_TYPE", "rstp_status"],
  ],
  Port: [
    ...[
      "name",
      "tag",
      "trunks",
      "vlan_mode",
      "external_ids",
      "external_ids:k",
      "other_config:a",
      "interfaces",
      "qos",
    ],
    ...[
      "mac",
      "bond_mode",
      "lacp",
      "bond_updelay",
      "protected",
      "cvlans",
      "statistics",
      "_uuid",
      "ta",
      "t",
      "nope",
    ],
  ],
  Interface: [
    ...[
      "name",
      "type",
      "options",
      "options:path",
      "mtu_request",
      "ofport_request",
      "ingress_policing_rate",
      "mac",
    ],
    ...[
      "external_ids:iface-id",
      "ofport",
      "admin_state",
      "statistics:rx_bytes",
      "link_speed",
      "mtu",
      "nope",
      "o",
    ],
  ],
  Open_vSwitch: [
    ...[
      "bridges",
      "external_ids",
      "external_ids:k",
      "other_config:vlan-limit",
      "next_cfg",
      "ssl",
      "ovs_version",
    ],
    ...["manager_options", "system_type", "iface_types", "nope", "dpdk"],
  ],
  Controller: [
    "target",
    "inactivity_probe",
    "max_backoff",
    "connection_mode",
    "is_connected",
    "enable_async_messages",
  ],
  Mirror: ["name", "select_all", "select_vlan", "output_port", "output_vlan", "snaplen", "select_dst_port"],
  QoS: ["type", "queues", "queues:0", "other_config:max-rate", "external_ids"],
  Queue: ["dscp", "other_config", "external_ids:k", "nope"],
};

const VALUE = of(
  ...[
    "1",
    "7",
    "-1",
    "+3",
    "0x10",
    "010",
    "4294967296",
    "1.5",
    "1e3",
    "true",
    "false",
    "yes",
    "True",
    "access",
    "trunk",
  ],
  ...[
    "secure",
    "a",
    "a-b",
    "k=v",
    "k=v,l=w",
    "k=v␣l=w",
    "k=1,k=2",
    "1,2",
    "1␣2",
    "2,1,",
    ",1",
    "[3,4]",
    "[3,4",
    "3,4]",
    "[]",
  ],
  ...[
    "{}",
    "{k=v}",
    "{k=v",
    "k=",
    "=v",
    "k",
    '"q␣r"',
    '"q',
    '""',
    '"a\\"b"',
    '"a\\nb"',
    "é",
    "␣",
    "1-3",
    "3-1",
    "5000",
  ],
  ...[
    "0=1",
    "{0=1,1=2}",
    "OpenFlow13,OpenFlow10",
    "OpenFlow9",
    "active-backup",
    "internal",
    "1:2",
    "a:b",
    "a<b",
    "01:02:03:04:05:06",
  ],
  ...[
    "§Port:p0§",
    "§Interface:p0§",
    "ab12",
    "[§Port:p0§,§Port:p1§]",
    "@x",
    "@q",
    "0=@q",
    "k=@x",
    "=",
    "!",
    "[[1]]",
    "1;2",
    '"a"b',
    'a"b␣c"',
    "a\\=b=c",
    '"\\u0041"=1',
    '"\\q"',
    "\\",
    "␣5",
  ],
);
const KEY = of("k", "l", "a", "hwaddr", "path", '"k"', "0", "a-b");

const OF_TABLE: Readonly<Record<string, readonly string[]>> = {
  Bridge: [
    "br0",
    "br0",
    "br1",
    "fake",
    "nope",
    "§Bridge:br0§",
    "§4:Bridge:br0§",
    "§8:Bridge:br0§",

    ".",
    "@b",
  ],
  Port: ["p0", "p0", "p1", "b0", "br0", "nope", "§Port:p0§", "§6:Port:p0§", "§36:Port:nope§", "@p"],
  Interface: ["p0", "p0", "p1", "i0", "br0", "nope", "§Interface:p0§", "§5:Interface:p0§", "@i"],
  Open_vSwitch: [".", ".", ".", "nope", "§Bridge:br0§"],
  Controller: ["br0", "br1", "tcp:1.2.3.4", "nope", "@x"],
  Mirror: ["m0", "nope", "@m", "."],
  QoS: ["p0", "p1", "nope", ".", "@x"],
  Queue: ["nope", ".", "@q", "0"],
};
const SPELT: Readonly<Record<string, readonly string[]>> = {
  Bridge: ["Bridge", "bridge", "br", "BRIDGE"],
  Port: ["Port", "port", "po"],
  Interface: ["Interface", "interface", "iface", "int", "i"],
  Open_vSwitch: ["Open_vSwitch", "open", "open-vswitch", "."],
  Controller: ["Controller", "controller", "c", "con"],
  Mirror: ["Mirror", "mirror", "m"],
  QoS: ["QoS", "qos", "q"],
  Queue: ["Queue", "queue", "nope"],
};

const TABLE = fc.oneof(
  { weight: 4, arbitrary: of("Bridge", "Port") },
  { weight: 3, arbitrary: of("Interface", "Open_vSwitch") },
  of("Controller", "Mirror", "QoS", "Queue"),
);
const spelt = (table: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 5, arbitrary: fc.constant(SPELT[table]?.[0] as string) },
    of(...(SPELT[table] as string[])),
  );
const column = (table: string): fc.Arbitrary<string> => of(...(COLUMNS[table] as string[]));
const record = (table: string): fc.Arbitrary<string> => of(...(OF_TABLE[table] as string[]));
const RELATION = of(
  "=",
  "=",
  "=",
  "=",
  "!=",
  "<",
  ">",
  "<=",
  ">=",
  "{=}",
  "{!=}",
  "{<}",
  "{<=}",
  "{>=}",
  "{in}",
  "{not-in}",
  "",
);

type Part = string | fc.Arbitrary<string>;

function words(...parts: readonly Part[]): fc.Arbitrary<string> {
  const arbitraries = parts.map((part) => (typeof part === "string" ? fc.constant(part) : part));
  return fc.tuple(...arbitraries).map((all) => all.filter((word) => word !== "").join(" "));
}

const maybe = (...options: readonly string[]): fc.Arbitrary<string> => of("", ...options);
const several = (one: fc.Arbitrary<string>, most = 2): fc.Arbitrary<string> =>
  fc.array(one, { minLength: 1, maxLength: most }).map((all) => all.join(" "));
const setting = (table: string): fc.Arbitrary<string> =>
  fc.tuple(column(table), of("=", "=", "=", "=", "=", "", "!=", "=="), VALUE).map((all) => all.join(""));
const condition = (table: string): fc.Arbitrary<string> =>
  fc.tuple(column(table), RELATION, VALUE).map((all) => all.join(""));
/** Words that begin with the table. */
const onTable = (
  ...parts: readonly (Part | ((table: string) => fc.Arbitrary<string>))[]
): fc.Arbitrary<string> =>
  TABLE.chain((table) => words(...parts.map((part) => (typeof part === "function" ? part(table) : part))));
const FORMAT = fc
  .tuple(of("list", "table", "csv", "html", "json"), of("string", "bare", "json"))
  .map(([format, data]) => `--format=${format} --data=${data}`);

const DATABASE = fc.oneof(
  {
    weight: 3,
    arbitrary: onTable(maybe("--if-exists"), "get", spelt, record, (table) => several(column(table))),
  },
  {
    weight: 6,
    arbitrary: onTable(maybe("--if-exists"), "set", spelt, record, (table) => several(setting(table))),
  },
  { weight: 2, arbitrary: onTable(maybe("--if-exists"), "add", spelt, record, column, several(VALUE)) },
  {
    weight: 2,
    arbitrary: onTable(maybe("--if-exists"), "remove", spelt, record, column, several(fc.oneof(KEY, VALUE))),
  },
  {
    weight: 2,
    arbitrary: onTable(maybe("--if-exists"), "clear", spelt, record, (table) => several(column(table))),
  },
  {
    weight: 2,
    arbitrary: onTable(of("--columns=name", "--columns=_uuid"), "find", spelt, (table) =>
      several(condition(table)),
    ),
  },
  onTable(
    maybe("--if-exists"),
    (table) => column(table).map((one) => `--columns=${one}`),
    "list",
    spelt,
    record,
  ),
  onTable(maybe("--id=@x", "--id=@q", "--id=x"), "create", spelt, (table) => several(setting(table))),
  onTable(maybe("--id=@p", "--id=@x"), maybe("--if-exists"), "get", spelt, record),
  onTable(maybe("--if-exists", "--all"), "destroy", spelt, (table) =>
    fc.oneof(fc.constant(""), record(table)),
  ),
);

/** Chains of commands that name rows for each other. */
const CHAIN = of(
  "--id=@q create queue dscp=5 -- --id=@x create qos type=linux-htb queues=0=@q -- set port p0 qos=@x",
  "set port p0 qos=@x -- --id=@x create qos type=linux-htb queues:7=@q -- --id=@q create queue other-config:max-rate=5",
  "--id=@p get port p1 -- --id=@m create mirror name=m0 select_dst_port=@p -- set bridge br0 mirrors=@m",
  "--id=@m create mirror name=m0 select_all=true -- add bridge br0 mirrors @m",
  "--id=@x create controller target=tcp:1.2.3.4 -- set bridge br1 controller=@x",
  "--id=@f create flow_table flow_limit=5 -- set bridge br0 flow_tables:0=@f",
  '--id=@n create netflow targets="1.2.3.4:5" -- set bridge br0 netflow=@n',
  "get netflow br0 targets",
  '--id=@s create sflow targets="1.2.3.4" agent=eth0 -- set bridge br0 sflow=@s -- get sflow br0 agent',
  "--id=@i create interface name=i7 -- --id=@p create port name=p7 interfaces=@i -- add bridge br0 ports @p",
  "remove bridge br0 mirrors m0 -- list-ports br0",
  "set-ssl a b c -- get-ssl -- get ssl . private_key",
  "add-aa-mapping br0 5 7 -- get-aa-mapping br0",
  "get queue @q dscp -- --id=@q create queue dscp=3",
);

const CLASSIC = fc.oneof(
  { weight: 5, arbitrary: words(maybe("--may-exist"), "add-br", BRIDGE) },
  { weight: 2, arbitrary: words(maybe("--may-exist"), "add-br", of("fake", "fake", "br1"), BRIDGE, VLAN) },
  {
    weight: 6,
    arbitrary: words(
      maybe("--may-exist"),
      "add-port",
      BRIDGE,
      PORT,
      fc.oneof(fc.constant(""), setting("Port")),
    ),
  },
  words(
    maybe("--may-exist"),
    maybe("--fake-iface"),
    "add-bond",
    BRIDGE,
    PORT,
    several(INTERFACE, 3),
    maybe("bond_mode=balance-slb", "x"),
  ),
  words(maybe("--may-exist"), "add-bond-iface", PORT, INTERFACE),
  words(maybe("--if-exists"), "del-bond-iface", fc.oneof(fc.constant(""), PORT), INTERFACE),
  words(maybe("--if-exists"), "del-br", BRIDGE),
  words(maybe("--real", "--fake", "--real --fake"), "list-br"),
  words(of("br-exists", "br-to-vlan", "br-to-parent", "list-ports", "list-ifaces"), BRIDGE),
  words("br-set-external-id", BRIDGE, of("k", "l", "a=b"), maybe("v", "a␣b", "=")),
  words("br-get-external-id", BRIDGE, maybe("k")),
  words(maybe("--if-exists"), maybe("--with-iface"), "del-port", fc.oneof(PORT, INTERFACE)),
  words(maybe("--if-exists"), maybe("--with-iface"), "del-port", BRIDGE, fc.oneof(PORT, INTERFACE)),
  words(of("port-to-br", "iface-to-br"), fc.oneof(PORT, INTERFACE)),
  words(of("get-controller", "del-controller", "get-fail-mode", "del-fail-mode"), BRIDGE),
  words(maybe("--inactivity-probe=7"), "set-controller", BRIDGE, several(TARGET)),
  words("set-fail-mode", BRIDGE, of("secure", "standalone", "x")),
  words(maybe("--inactivity-probe=7x"), "set-manager", several(TARGET)),
  of(
    "get-manager",
    "del-manager",
    "get-ssl",
    "del-ssl",
    "emer-reset",
    "init",
    "show",
    "comment a b",
    "nope",
    "add-br",
    "list",
  ),
  of(
    "--may-exist list-br",
    "--columns=name show",
    "--nope add-br br0",
    "--may add-br br0",
    "--if-exists get",
    "wait-until bridge",
  ),
  of("get-aa-mapping br0", "add-aa-mapping br0 x 1", "del-aa-mapping br0 5 7"),
);

const COMMAND = fc.oneof(
  { weight: 5, arbitrary: CLASSIC },
  { weight: 4, arbitrary: DATABASE },
  { weight: 1, arbitrary: CHAIN },
);
const OPTION = fc.oneof(
  { weight: 6, arbitrary: fc.constant("") },
  of(
    "--oneline",
    "--dry-run",
    "-f csv",
    "-f json",
    "--bare",
    "--no-headings",
    "--pretty",
    "-d json",
    "--one",
    "-t 5",
  ),
  FORMAT,
);

/** What there is at first, or some of it. */
export const BEGINNINGS: readonly string[] = [
  "init",
  "add-br br0 -- add-port br0 p0 tag=3 -- add-port br0 p1 -- set bridge br0 external_ids:k=v",
  "add-br br0 -- add-br fake br0 7 -- add-port fake p0 -- add-bond br0 b0 i0 i1 -- add-br br1",
  "add-br br0 -- add-port br0 p0 -- add-port br0 p1 -- set-controller br0 tcp:1.2.3.4 -- --id=@m create mirror name=m0 -- set bridge br0 mirrors=@m",
];

/** One to four commands in one transaction. */
export const RANDOM_LINE: fc.Arbitrary<string> = fc
  .tuple(OPTION, fc.array(COMMAND, { minLength: 1, maxLength: 4 }))
  .map(([option, commands]) => [option, commands.join(" -- ")].filter((word) => word !== "").join(" "));
