// JSON-RPC 1.0 as OVSDB, unixctl and our control sockets speak it.
export {
  type ControlMethod,
  type ControlServer,
  type ControlServerOptions,
  callControl,
  createControlServer,
} from "./control.js";
export { type Endpoint, parseActiveEndpoint, parsePassiveEndpoint } from "./endpoint.js";
export { errorOfFault, faultValueOf, JsonRpcFault } from "./errors.js";
export { JsonStream, type JsonStreamOptions } from "./json-stream.js";
export { type ConnectOptions, connectJsonRpc } from "./jsonrpc-client.js";
export {
  JsonRpcConnection,
  type JsonRpcHandler,
  type JsonRpcOptions,
  type JsonRpcRequest,
} from "./jsonrpc-connection.js";
export {
  clearStaleSocket,
  type JsonRpcServer,
  type ListenOptions,
  listenJsonRpc,
  probeListen,
} from "./jsonrpc-server.js";
export {
  encodeFault,
  encodeNotification,
  encodeResult,
  type JsonRpcEvent,
  JsonRpcSession,
} from "./jsonrpc-session.js";
