// The controller's pipeline on our own flow tables: the suite that a real Open vSwitch passes too.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { startSdn } from "../../sdn-controller/index.js";
import { OFPORTS, POLICIES, policyChange, shopChanges } from "../../sdn-controller/testing/shop.js";
import { FlowTableSwitch } from "../support/flow-table-switch.js";
import { createModelTracker } from "../support/model-tracker.js";
import { type PipelineBench, pipelineSuite } from "../support/pipeline-suite.js";

const DEADLINE_MS = 10_000;

pipelineSuite("our own flow tables", async (): Promise<PipelineBench> => {
  const dir = mkdtempSync("/tmp/sft-");
  const sdn = await startSdn(
    {
      openflowSocket: join(dir, "of.sock"),
      // Nobody listens there: this switch has no database, and the attachments are given below.
      ovsdbEndpoint: `unix:${join(dir, "none.sock")}`,
      outputs: { onStatus: () => {}, onEvent: () => {} },
    },
    { clock: systemClock, log: silentLog },
  );
  const { controller } = sdn;
  controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
  controller.setAttachments(OFPORTS);
  controller.inventoryComplete();
  const tables = new FlowTableSwitch(createModelTracker);
  await tables.device.dial(join(dir, "of.sock"));
  await waitFor(() => controller.isSettled, "the flows to be there", DEADLINE_MS);
  return {
    controller,
    inject: async (ofport, frame) => tables.inject(ofport, frame),
    sentBy: (ofport) => tables.sentBy(ofport),
    async close() {
      await tables.device.hangUp();
      await sdn.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
});
