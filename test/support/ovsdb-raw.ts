// Bytes as they are to the socket of an OVSDB server: what comes back, or that the connection ends.
import { connect } from "node:net";
import { JsonStream } from "../../base/jsonrpc/index.js";

const DEADLINE_MS = 10_000;
const LAST = "the last";

/** Sends `bytes` and a request behind them; the answers, but for the one to that request, by id, or "closed". */
export function rawAnswers(endpoint: string, bytes: string | Uint8Array): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect(endpoint.replace(/^unix:/, ""));
    const stream = new JsonStream();
    const answers: unknown[] = [];
    const end = (outcome: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`neither answer nor end: ${String(bytes).slice(0, 200)}`));
    }, DEADLINE_MS);
    socket.on("error", () => {});
    socket.on("close", () => end("closed"));
    socket.on("data", (data) => {
      for (const answer of stream.push(data) as Record<string, unknown>[]) {
        // RFC 7047, 4: the result beside an error is null; ovsdb-server leaves it out.
        const { id, result, error } = answer;
        if (id === LAST) end(answers);
        else answers.push(error == null ? { id, result } : { id, error });
      }
    });
    socket.write(bytes);
    // What is answered after a commit comes later than what is answered at once.
    const last = { id: LAST, method: "transact", params: ["Open_vSwitch", { op: "comment", comment: "" }] };
    socket.write(JSON.stringify(last));
  });
}
