#!/usr/bin/env node
// The one binary: `plinth <command>`. Commands live in `*-commands.ts`, one file per area; this file only wires them.
import { Command } from "commander";
import { describeError } from "../../base/errors/index.js";
import { register as registerController } from "./controller-commands.js";
import { register as registerFunctions } from "./function-commands.js";
import { register as registerHost } from "./host-commands.js";
import { register as registerPolicy } from "./policy-commands.js";
import { register as registerResources } from "./resource-commands.js";
import { register as registerStorage } from "./storage-commands.js";
import { register as registerSwitch } from "./switch-commands.js";
import { register as registerUp } from "./up-commands.js";
import { register as registerVm } from "./vm-commands.js";

const program = new Command("plinth")
  .description("A software-defined data centre: VMs, virtual switches, volumes and network functions.")
  .version("0.1.0")
  .showHelpAfterError("(plinth --help lists what there is)");

registerUp(program);
registerController(program);
registerHost(program);
registerResources(program);
registerVm(program);
registerFunctions(program);
registerSwitch(program);
registerStorage(program);
registerPolicy(program);

program.parseAsync(process.argv).catch((thrown: unknown) => {
  process.stderr.write(`plinth: ${describeError(thrown)}\n`);
  process.exitCode = 1;
});
