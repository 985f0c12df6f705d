// The offline analysis: who may connect to whom in a cluster of which there are only the documents.
export { type Cluster, clusterOf, type Workload } from "./cluster.js";
export { type ConnectionSet, connections, formatConnections, isProtocol } from "./connection-set.js";
export {
  type Connectivity,
  type ConnectivityLine,
  type ConnectivityOptions,
  connectivityOf,
  type Focus,
} from "./connectivity.js";
export { DIFFERENCE_FORMATS, type DifferenceFormat, differenceOf, formatDifference } from "./difference.js";
export { checkUniform, findEnd } from "./ends.js";
export { type Answer, type End, Evaluator } from "./evaluator.js";
export { explainPair, formatExplanation, isAllowed, type PairExplanation } from "./explain-pair.js";
export { explainReport } from "./explain-report.js";
export { type Exposure, exposureOf } from "./exposure.js";
export { formatExposure } from "./exposure-format.js";
export { CONNECTIVITY_FORMATS, type ConnectivityFormat, formatConnectivity } from "./format.js";
export { type GraphEdge, graphSvg } from "./graph-svg.js";
export { type Manifest, type ManifestDocument, type Problem, readManifest } from "./manifest.js";
