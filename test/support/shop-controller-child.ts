// A controller of the shop example as a process that is killed: `node shop-controller-child.js DIR DATABASE`. It changes
// policies, labels and identities without a pause, and says so.
import { settled, startShopController } from "./shop-controller.js";
import { disturbances, restored } from "./shop-disturbances.js";

const [dir = "", endpoint = ""] = process.argv.slice(2);
// Whoever started it and is gone wants it no more.
setInterval(() => {
  if (process.ppid === 1) process.exit(1);
}, 1_000);
const sdn = await startShopController({ dir, endpoint });
process.stdout.write("listens\n");
await settled(sdn);
for (let round = 0; ; round++) {
  for (const change of [...disturbances(round), restored()]) {
    sdn.controller.update(change);
    await sdn.controller.whenSettled();
  }
  process.stdout.write(`changed ${round}\n`);
}
