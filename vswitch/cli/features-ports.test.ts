import { expect, test } from "vitest";
import {
  encodeMessage,
  featuresPortsMax,
  type PortDescription,
  parseMessage,
} from "../../base/openflow/index.js";
import { portsOfFeatures, withoutPorts } from "./features-ports.js";

const OPENFLOW_10 = { version: 1, flowModTableId: false } as const;

const port = (number: number): PortDescription => ({
  ...{ port: number, macAddress: new Uint8Array(6), name: `p${number}`, config: 0, state: 0 },
  ...{ current: 0, advertised: 0, supported: 0, peer: 0, currentSpeedKbps: 0, maxSpeedKbps: 0 },
});

function replyWith(count: number) {
  const ports = Array.from({ length: count }, (_, i) => port(i + 1));
  const openflow10 = { actions: 0, ports };
  const bytes = encodeMessage(
    {
      ...{ type: "features_reply", xid: 5, datapathId: 1n, bufferCount: 0, tableCount: 254 },
      ...{ auxiliaryId: 0, capabilities: 0, openflow10 },
    },
    OPENFLOW_10,
  );
  return { bytes, message: parseMessage(bytes, OPENFLOW_10) };
}

test("a features reply of 1.0 leaves out the ports that it has no room for, and who reads it knows that", () => {
  const most = featuresPortsMax(1);
  expect([most, featuresPortsMax(2)]).toEqual([1364, 1023]);
  expect(portsOfFeatures(replyWith(most - 1), 1)).toHaveLength(most - 1);
  const full = replyWith(most + 500);
  expect(full.bytes.byteLength).toBe(32 + 48 * most);
  expect(portsOfFeatures(full, 1)).toBeUndefined();
  const { bytes, message } = withoutPorts(full);
  expect(parseMessage(bytes, OPENFLOW_10)).toEqual(message);
  expect(message).toMatchObject({ xid: 5, tableCount: 254, openflow10: { ports: [] } });
});
