import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { waitFor } from "../time/index.js";
import { closeFile, inheritedListeners, listenTcp, sysAccept, tuneTcp } from "./index.js";

describe("listenTcp()", () => {
  it.each(["127.0.0.1", "::1", "::ffff:127.0.0.1"])(
    "accepts connections at %s, at a port that the system chose",
    async (address) => {
      const { fd, port } = listenTcp(address, 0);
      expect(port).toBeGreaterThan(0);
      const client = connect(port, address.replace("::ffff:", ""));
      let accepted = -1;
      const comes = (): boolean => {
        accepted = sysAccept(fd);
        return accepted >= 0;
      };
      await waitFor(comes, "nobody came", 5_000, 1);
      tuneTcp(accepted);
      client.destroy();
      closeFile(accepted);
      expect(() => listenTcp(address, port)).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
      closeFile(fd);
    },
  );

  it("wants an address, no name", () => {
    expect(() => listenTcp("localhost", 0)).toThrow(expect.objectContaining({ code: "ADDRESS_INVALID" }));
  });
});

describe("inheritedListeners()", () => {
  it("takes none that are not meant for this process, and refuses what makes no sense", () => {
    const pid = String(process.pid);
    expect(inheritedListeners({})).toEqual([]);
    expect(inheritedListeners({ LISTEN_FDS: "1", LISTEN_PID: "1" })).toEqual([]);
    for (const count of ["0", "x", "1000", "64"]) {
      expect(() => inheritedListeners({ LISTEN_FDS: count, LISTEN_PID: pid })).toThrow(
        expect.objectContaining({ code: "LISTEN_FDS_INVALID" }),
      );
    }
  });
});
