// The virtual switch: its daemon, and the command-line verbs that speak to any switch of the same protocols.
export { appctlHelp, runAppctl } from "./cli/appctl.js";
export { type CaptureOutcome, runCapture } from "./cli/capture.js";
export { FileSink, StreamSink } from "./cli/capture-files.js";
export type { Background, CommandIo } from "./cli/command-io.js";
export { ofctlHelp, runOfctl } from "./cli/ofctl.js";
export { askUnixctl } from "./cli/unixctl-client.js";
export { runVsctl, type VsctlIo, vsctlHelp } from "./cli/vsctl.js";
export { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "./db/index.js";
export { DROP_REASONS } from "./flow/index.js";
export { type StartVswitchdOptions, startVswitchd } from "./vswitchd/start.js";
export type { Vswitchd } from "./vswitchd/vswitchd.js";
