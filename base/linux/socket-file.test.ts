import { linkSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  changeSocketMode,
  closeFile,
  connectSocketFile,
  Epoll,
  giveSocketFile,
  listenUnix,
  sysAccept,
  sysConnectUnix,
  sysDialUnix,
  UnixLink,
} from "./index.js";

let dir = "";
let listener = -1;
beforeEach(() => {
  dir = mkdtempSync("/tmp/psf-");
  listener = listenUnix(`${dir}/victim`);
});
afterEach(() => {
  closeFile(listener);
  rmSync(dir, { recursive: true });
});

/** "connected", or the code of the error. */
function outcome(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once("connect", () => {
      socket.destroy();
      resolve("connected");
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

describe("a socket file", () => {
  it("is dialled, given away and changed as itself", async () => {
    expect(await outcome(connectSocketFile(`${dir}/victim`))).toBe("connected");
    closeFile(sysAccept(listener));
    const fd = sysDialUnix(`${dir}/victim`);
    expect(fd).toBeGreaterThan(0);
    closeFile(fd);
    const uid = process.getuid?.() === 0 ? 64_321 : (process.getuid?.() ?? -1);
    giveSocketFile(`${dir}/victim`, uid);
    changeSocketMode(`${dir}/victim`, 0o640);
    expect(statSync(`${dir}/victim`)).toMatchObject({ uid });
    expect(statSync(`${dir}/victim`).mode & 0o777).toBe(0o640);
    expect(await outcome(connectSocketFile(`${dir}/none`))).toBe("ENOENT");
    expect(sysDialUnix(`${dir}/none`)).toBe(-2);
    expect(await outcome(connectSocketFile(`${dir}/${"x".repeat(120)}`))).toBe("SOCKET_PATH_TOO_LONG");
  });

  it("is not reached through a link of either kind, nor is a plain file taken for one", async () => {
    symlinkSync(`${dir}/victim`, `${dir}/soft`);
    writeFileSync(`${dir}/plain`, "");
    const before = statSync(`${dir}/victim`);
    for (const [name, code] of [
      ["soft", "ENOTSOCK"],
      ["plain", "ENOTSOCK"],
    ] as const) {
      expect(() => giveSocketFile(`${dir}/${name}`, 64_321)).toThrowError(expect.objectContaining({ code }));
      expect(() => changeSocketMode(`${dir}/${name}`, 0o777)).toThrowError(expect.objectContaining({ code }));
      expect(await outcome(connectSocketFile(`${dir}/${name}`))).toBe(code);
      expect(sysDialUnix(`${dir}/${name}`)).toBe(-88);
    }
    linkSync(`${dir}/victim`, `${dir}/hard`);
    expect(() => giveSocketFile(`${dir}/hard`, 64_321)).toThrowError(
      expect.objectContaining({ code: "EMLINK" }),
    );
    expect(await outcome(connectSocketFile(`${dir}/hard`))).toBe("EMLINK");
    expect(sysDialUnix(`${dir}/hard`)).toBe(-31);
    expect(statSync(`${dir}/victim`)).toMatchObject({ uid: before.uid, mode: before.mode });
    expect(sysAccept(listener)).toBe(-11);
    closeFile(sysConnectUnix(`${dir}/victim`));
  });

  it("is what a link that dials looks for: a link in its place says why nothing comes", () => {
    symlinkSync(`${dir}/victim`, `${dir}/soft`);
    const epoll = new Epoll(1);
    const link = new UnixLink({ path: `${dir}/soft`, role: "dial", epoll });
    expect(link.poll(0)).toBe(-1);
    expect(link.lastError).toContain("ENOTSOCK");
    link.close();
    epoll.close();
  });
});
