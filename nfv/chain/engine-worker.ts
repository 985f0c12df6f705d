// The engine's thread: wiring only. It breathes while there is work and sleeps on its ports and its mailbox otherwise.
import { workerData } from "node:worker_threads";
import { describeError } from "../../base/errors/index.js";
import { EPOLLIN, Epoll } from "../../base/linux/index.js";
import { createWindowPool, StreamPort } from "../../base/packet/index.js";
import { checkUnixPath } from "../../base/unix-path/index.js";
import { Mailbox, type MailboxSetup } from "../../base/worker/index.js";
import { nfvError } from "../errors.js";
import { LoadBalancer } from "../functions/load-balancer/load-balancer.js";
import type { LoadBalancerConfig } from "../functions/load-balancer/load-balancer-config.js";
import { FUNCTIONS_MAX, IDLE_POLLS_MAX, REQUESTS_PER_TURN, TICK_MS } from "../limits.js";
import { Engine } from "./engine.js";
import type { NamedStatus } from "./engine-handle.js";

interface Running {
  readonly socket: string;
  readonly port: StreamPort;
  readonly balancer: LoadBalancer;
}

const { mailbox: setup } = workerData as { mailbox: MailboxSetup };
const { pool, window } = createWindowPool();
const engine = new Engine(pool);
const epoll = new Epoll();
const running = new Map<string, Running>();

const mailbox = new Mailbox(setup, {
  apply(config: LoadBalancerConfig) {
    const before = running.get(config.name);
    if (before?.socket === config.socket) {
      before.balancer.configure(config);
      return;
    }
    if (before === undefined && running.size >= FUNCTIONS_MAX) {
      throw nfvError("FUNCTIONS_TOO_MANY", `nfd already runs ${FUNCTIONS_MAX} functions`);
    }
    // The new port first: when its socket cannot be made, the function stays as it was.
    const port = listen(config);
    if (before !== undefined) remove(config.name);
    const balancer = new LoadBalancer(config, { pool });
    engine.attach(config.name, port, balancer);
    epoll.add(port.wakeFd, EPOLLIN);
    running.set(config.name, { socket: config.socket, port, balancer });
  },
  delete(name: string) {
    if (!remove(name)) throw nfvError("FUNCTION_UNKNOWN", `there is no function ${name}`, "name");
  },
  list(): NamedStatus[] {
    const nowMs = performance.now();
    return [...running].map(([name, { port, balancer }]) => ({
      name,
      attached: port.linkUp,
      ...balancer.status(nowMs),
    }));
  },
});

/** A port that listens: the caller may name its socket to the switch. Throws FUNCTION_SOCKET_UNAVAILABLE. */
function listen({ name, socket }: LoadBalancerConfig): StreamPort {
  try {
    checkUnixPath(socket);
  } catch (thrown) {
    throw nfvError("FUNCTION_SOCKET_UNAVAILABLE", `socket: ${describeError(thrown)}`, "socket");
  }
  const port = new StreamPort({ name, pool, window, path: socket, role: "listen" });
  port.tick(performance.now());
  if (port.listening) return port;
  port.close();
  throw nfvError("FUNCTION_SOCKET_UNAVAILABLE", `socket: ${port.lastError}`, "socket");
}

function remove(name: string): boolean {
  const entry = running.get(name);
  if (entry === undefined) return false;
  epoll.remove(entry.port.wakeFd);
  running.delete(name);
  return engine.detach(name);
}

epoll.add(mailbox.doorbell, EPOLLIN);
let idle = 0;
while (!mailbox.closing) {
  const received = engine.breathe(performance.now());
  idle = mailbox.poll(REQUESTS_PER_TURN) + received > 0 ? 0 : idle + 1;
  if (idle <= IDLE_POLLS_MAX || !engine.beginSleep()) continue;
  epoll.wait(running.size === 0 ? -1 : TICK_MS);
  engine.endSleep();
  mailbox.silence();
  idle = 0;
}
engine.close();
epoll.close();
mailbox.close();
window.close();
