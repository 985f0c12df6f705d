import fc from "fast-check";
import { expect, test } from "vitest";
import { TlsGateSession } from "./tls-gate-session.js";

const option = (number: number, data: Uint8Array): Buffer => {
  const head = Buffer.alloc(16);
  head.write("IHAVEOPT");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.byteLength, 12);
  return Buffer.concat([head, data]);
};
const someOption = fc
  .tuple(fc.integer({ min: 1, max: 11 }), fc.uint8Array({ maxLength: 40 }))
  .filter(([number, data]) => number !== 5 || data.byteLength > 0)
  .map(([number, data]) => option(number, data));

/** Gives a stream in pieces; what was forwarded, and what was left. */
function feed(bytes: Buffer, piece: number): { session: TlsGateSession; forwarded: Buffer; rest: Buffer } {
  const session = new TlsGateSession();
  const forwarded: Uint8Array[] = [];
  let rest: Buffer = Buffer.alloc(0);
  for (let at = 0; at < bytes.byteLength; at += piece) {
    rest = Buffer.concat([rest, bytes.subarray(at, at + piece)]);
    if (session.state === "starttls") continue;
    const output = session.receive(rest);
    forwarded.push(Buffer.from(output.forward));
    rest = Buffer.from(output.rest);
  }
  return { session, forwarded: Buffer.concat(forwarded), rest };
}

const pieces = fc.integer({ min: 1, max: 60 });

test("everything before STARTTLS is forwarded, everything behind it is kept, STARTTLS itself is neither", () => {
  fc.assert(
    fc.property(fc.array(someOption, { maxLength: 6 }), fc.uint8Array(), pieces, (options, behind, piece) => {
      const before = Buffer.concat([Buffer.from([0, 0, 0, 3]), ...options]);
      const starttls = option(5, new Uint8Array());
      const { session, forwarded, rest } = feed(Buffer.concat([before, starttls, behind]), piece);
      expect(session.state).toBe("starttls");
      expect(session.clientFlags).toBe(3);
      expect(forwarded.equals(before)).toBe(true);
      expect(rest.equals(Buffer.from(behind))).toBe(true);
    }),
  );
});

test("what is no option passes whole, and so does STARTTLS of a client that is not of the fixed newstyle", () => {
  fc.assert(
    fc.property(fc.array(someOption, { maxLength: 6 }), pieces, fc.boolean(), (options, piece, old) => {
      const requests = old ? option(5, new Uint8Array()) : Buffer.alloc(64, 0x25);
      const stream = Buffer.concat([Buffer.from([0, 0, 0, old ? 0 : 3]), ...options, requests]);
      const { session, forwarded, rest } = feed(stream, piece);
      expect(session.state).toBe(old ? "options" : "passing");
      expect(Buffer.concat([forwarded, rest]).equals(stream)).toBe(true);
    }),
  );
});
