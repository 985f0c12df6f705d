import { describe, expect, it } from "vitest";
import { hypervisorError } from "../errors.js";
import { QMP_COMMANDS_IN_FLIGHT_MAX, QMP_DEPTH_MAX } from "../limits.js";
import { QmpSession } from "./qmp-session.js";
import { QmpParser } from "./qmp-wire.js";

const bytes = (text: string): Uint8Array => Buffer.from(text);
// The greeting of QEMU 7.2.22, as captured from its monitor.
const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}\r\n';

function ready(): QmpSession {
  const session = new QmpSession();
  session.receive(bytes(GREETING));
  session.receive(bytes('{"return": {}, "id": 0}\r\n'));
  return session;
}

describe("QmpSession", () => {
  it("negotiates after the greeting and is then ready", () => {
    const session = new QmpSession();
    const [send] = session.receive(bytes(GREETING));
    expect(send).toEqual({
      kind: "send",
      bytes: bytes('{"execute":"qmp_capabilities","id":0}\n'),
    });
    expect(session.receive(bytes('{"return": {}, "id": 0}'))).toEqual([{ kind: "ready" }]);
    expect(session.state).toBe("ready");
  });

  it("matches answers to commands by id and keeps events apart", () => {
    const session = ready();
    const first = session.execute("query-status", undefined, 100);
    const second = session.execute("stop", undefined, 100);
    const outputs = session.receive(
      bytes(
        `{"timestamp":{},"event":"STOP"}{"return":{},"id":${second.id}}{"id":${first.id},"error":{"class":"GenericError","desc":"no"}}`,
      ),
    );
    expect(outputs).toMatchObject([
      { kind: "event", event: { name: "STOP", data: {} } },
      { kind: "return", id: second.id },
      { kind: "failed", id: first.id, error: { code: "QMP_COMMAND_FAILED" } },
    ]);
  });

  it("fails a command at its deadline and ignores the late answer", () => {
    const session = ready();
    const { id } = session.execute("query-status", undefined, 100);
    expect(session.nextDeadlineMs()).toBe(100);
    expect(session.expire(99)).toEqual([]);
    expect(session.expire(100)).toMatchObject([{ kind: "failed", id, error: { code: "QMP_TIMEOUT" } }]);
    expect(session.receive(bytes(`{"return":{},"id":${id}}`))).toEqual([]);
  });

  it("fails everything in flight when the session ends", () => {
    const session = ready();
    const { id } = session.execute("quit", undefined, 100);
    const gone = hypervisorError("QMP_CLOSED", "gone");
    expect(session.fail(gone)).toEqual([{ kind: "failed", id, error: gone }]);
    expect(session.fail(gone)).toEqual([]);
    expect(() => session.execute("stop", undefined, 1)).toThrow(
      expect.objectContaining({ code: "MACHINE_STATE" }),
    );
  });

  it("refuses a monitor that does not greet, a foreign message, and more commands than its limit", () => {
    expect(() => new QmpSession().receive(bytes('{"return":{}}'))).toThrow(
      expect.objectContaining({ code: "QMP_MALFORMED" }),
    );
    expect(() => ready().receive(bytes("{}"))).toThrow(expect.objectContaining({ code: "QMP_MALFORMED" }));
    const full = ready();
    for (let i = 0; i < QMP_COMMANDS_IN_FLIGHT_MAX; i++) full.execute("x", undefined, 1);
    expect(() => full.execute("x", undefined, 1)).toThrow(expect.objectContaining({ code: "MACHINE_STATE" }));
  });
});

describe("QmpParser", () => {
  it("is not misled by brackets and quotes inside strings", () => {
    const tricky = { a: '}{]["\\', b: ["\\\\", { c: "é{" }] };
    expect(new QmpParser().push(bytes(JSON.stringify(tricky)))).toEqual([tricky]);
  });

  it("bounds the nesting", () => {
    expect(() => new QmpParser().push(bytes(`{"a":${"[".repeat(QMP_DEPTH_MAX)}`))).toThrow(
      expect.objectContaining({ code: "QMP_MALFORMED" }),
    );
  });
});
