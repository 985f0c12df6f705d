import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mustBootstrap, readTlsFiles } from "./index.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync("/tmp/tls-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const files = (caCert: string) => ({
  privateKey: join(dir, "key"),
  certificate: join(dir, "cert"),
  caCert,
  bootstrapCaCert: true,
});

describe("readTlsFiles()", () => {
  it("says what is missing: the configuration, a file, or sense in it", () => {
    const refused = (of: () => unknown, code: string, message: string) =>
      expect(of).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
    refused(() => readTlsFiles(undefined), "TLS_NOT_CONFIGURED", "private key");
    refused(() => readTlsFiles({ ...files("none"), privateKey: "" }), "TLS_NOT_CONFIGURED", "private key");
    refused(() => readTlsFiles(files("none")), "TLS_FILE_UNREADABLE", join(dir, "key"));
    writeFileSync(join(dir, "key"), "no key");
    writeFileSync(join(dir, "cert"), "no certificate");
    refused(() => readTlsFiles(files(join(dir, "ca"))), "TLS_FILE_UNREADABLE", join(dir, "ca"));
    refused(() => readTlsFiles(files("none")), "TLS_FILE_UNREADABLE", "cannot be used");
    refused(
      () => readTlsFiles(files(join(dir, "key"))),
      "TLS_FILE_UNREADABLE",
      "key holds no CA certificate",
    );
    const peerCaCert = join(dir, "peer");
    refused(() => readTlsFiles({ ...files("none"), peerCaCert }), "TLS_FILE_UNREADABLE", peerCaCert);
  });
});

describe("mustBootstrap()", () => {
  it("holds only where a CA certificate is wanted that is not there yet", () => {
    const path = join(dir, "ca");
    expect(mustBootstrap(files(path))).toBe(true);
    expect(mustBootstrap({ ...files(path), bootstrapCaCert: false })).toBe(false);
    expect(mustBootstrap(files("none"))).toBe(false);
    expect(mustBootstrap(undefined)).toBe(false);
    writeFileSync(path, "");
    expect(mustBootstrap(files(path))).toBe(false);
  });
});
