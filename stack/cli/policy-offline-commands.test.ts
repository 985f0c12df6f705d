// `plinth policy connectivity | diff | evaluate` over directories, as people and scripts call them: what is printed where,
// and how the command ends.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { explainOffline, isDocumentDirectory, registerOffline } from "./policy-offline-commands.js";

const PODS = `
apiVersion: v1
kind: PodList
items:
- metadata: {name: front, labels: {app: front}}
- metadata: {name: back-1, labels: {app: back}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: back, controller: true}]}
  spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
`;
const POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out}
spec: {podSelector: {matchLabels: {app: front}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: back}}}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: in}
spec: {podSelector: {matchLabels: {app: back}}, ingress: [{from: [{podSelector: {}}], ports: [{port: http}]}]}
`;
const LINE = "default/front[Pod] => default/back[ReplicaSet] : TCP 8080\n";

let directory = "";
let out = "";
let err = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "po-"));
  out = "";
  err = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    err += String(text);
    return true;
  });
  save("app/pods.yaml", PODS);
  save("app/deep/er/policies.yml", POLICY);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true, force: true });
});

function save(name: string, text: string): void {
  mkdirSync(join(directory, name, ".."), { recursive: true });
  writeFileSync(join(directory, name), text);
}

/** What the words print; DIR stands for the directory. */
async function run(words: string): Promise<string> {
  const policy = new Command();
  registerOffline(policy);
  for (const command of policy.commands) command.exitOverride();
  out = "";
  err = "";
  await policy.parseAsync(words.replaceAll("DIR", directory).split(" "), { from: "user" });
  return out;
}

describe("policy connectivity", () => {
  it("reads a directory with all below it, under either name of the command, and keeps standard error empty", async () => {
    expect(await run("connectivity DIR/app")).toBe(LINE);
    expect(err).toBe("");
    expect(await run("list --dirpath DIR/app --include-json -q")).toBe(LINE);
    expect(await run("list DIR/app -v")).toBe(LINE);
    expect(err).toContain("4 documents, 2 workloads, 3 policies, 0 services");
  });

  it("writes the answer to a file, too", async () => {
    expect(await run("connectivity DIR/app -o csv -f DIR/answer")).toContain("src,dst,conn\n");
    expect(readFileSync(join(directory, "answer"), "utf8")).toBe(out);
  });

  it("goes on beside what is broken, names it, and with --fail ends there", async () => {
    save("app/broken.yaml", "kind: [\n");
    save("app/notes.txt", "kind: [\n");
    expect(await run("connectivity DIR/app")).toBe(LINE);
    expect(err).toMatch(/^error: .*broken\.yaml, document 1: .*\n$/);
    await expect(run("connectivity DIR/app --fail")).rejects.toMatchObject({ code: "DOCUMENT_INVALID" });
    expect(out).toBe("");
  });

  it("prints nothing but warnings where nothing may connect, and -q not even these", async () => {
    rmSync(join(directory, "app/deep"), { recursive: true });
    save("app/shut.yaml", POLICY.split("---")[0] as string);
    expect(await run("connectivity DIR/app")).toBe("");
    expect(err).toBe("warning: nothing may connect to anything\n");
    await run("connectivity DIR/app -q");
    expect(err).toBe("");
    expect(await run("connectivity DIR/app -o json")).toBe("[]\n");
  });

  it("reports as an error where there is nothing to connect", async () => {
    save("empty/README.md", "nothing here");
    expect(await run("connectivity DIR/empty")).toBe("");
    expect(err).toContain("error: no Kubernetes workloads were found\n");
    await expect(run("connectivity DIR/none")).rejects.toMatchObject({ code: "DOCUMENT_UNREADABLE" });
    await expect(run("connectivity")).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  });

  it("focuses on a workload, by the name of its pod, too", async () => {
    expect(await run("connectivity DIR/app --focusworkload back-1")).toBe(LINE);
    expect(await run("connectivity DIR/app --focusworkload default/front")).toBe(LINE);
    expect(await run("connectivity DIR/app --focusworkload nobody")).toBe("");
    expect(err).toBe("warning: there is no workload nobody in the documents\n");
  });
});

describe("policy diff", () => {
  it("says what a second directory changes, and nothing where nothing changes", async () => {
    save("other/pods.yaml", PODS);
    save("other/policies.yaml", POLICY.replace("ports: [{port: http}]", "ports: [{port: 9}]"));
    expect(await run("diff --dir1 DIR/app --dir2 DIR/other")).toBe(
      "Connectivity diff:\n" +
        "diff-type: changed, source: default/front[Pod], destination: default/back[ReplicaSet], dir1:  TCP 8080, dir2: TCP 9\n",
    );
    expect(await run("diff DIR/app DIR/app")).toBe("");
  });

  it("says of which directory a problem is, and once where a file is named", async () => {
    save("empty/README.md", "nothing here");
    save("app/broken.yaml", "kind: [\n");
    expect(await run("diff DIR/app/ DIR/empty")).toContain("workload default/front[Pod] and default/back");
    expect(err.replaceAll(directory, "DIR").split("\n")).toEqual([
      expect.stringMatching(
        /^error: DIR\/app\/broken\.yaml, document 1: .*[^:]; the rest of the file is left out$/,
      ),
      "error: DIR/empty: no Kubernetes workloads were found",
      "warning: DIR/empty: no network policies were found",
      "",
    ]);
  });

  it("prints nothing when the answer cannot be written to the file", async () => {
    save("empty/README.md", "nothing here");
    await expect(run("diff DIR/app DIR/empty -f DIR/none/answer")).rejects.toMatchObject({
      code: "OPTIONS_INVALID",
      message: expect.stringContaining("--file: "),
    });
    expect(out).toBe("");
  });
});

describe("policy evaluate", () => {
  it.each(["evaluate", "eval", "check", "allow"])(
    "is known as %s, and knows pods and ports by name",
    async (name) => {
      expect(await run(`${name} --dirpath DIR/app -s front -d back-1 -p http`)).toBe(
        "default/front => default/back-1 over tcp/http: true\n",
      );
      expect(await run(`${name} DIR/app -s back-1 -d front -p 80 --protocol udp`)).toBe(
        "default/back-1 => default/front over udp/80: false\n",
      );
      expect(await run(`${name} DIR/app -s front -d front -p 80`)).toContain(": true");
    },
  );
});

describe("explainOffline()", () => {
  it("refuses a protocol that policies do not speak of", async () => {
    const ask = (protocol: string) =>
      explainOffline(join(directory, "app"), "front", "back-1", undefined, { protocol });
    expect(await ask("tcp")).toMatchObject({ allowed: "TCP 8080" });
    await expect(ask("icmp")).rejects.toMatchObject({
      code: "PROTOCOL_UNKNOWN",
      message: expect.stringContaining("--protocol ICMP"),
    });
  });
});

describe("isDocumentDirectory()", () => {
  it("says that a directory is missing before anything is asked for in it", () => {
    expect(isDocumentDirectory(join(directory, "app"))).toBe(true);
    expect(() => isDocumentDirectory(join(directory, "none"))).toThrow("--dir: there is no ");
  });
});
