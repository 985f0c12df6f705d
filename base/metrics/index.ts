// Numbers for Prometheus: their text format, and the page that it scrapes.
export {
  type MetricsEndpoint,
  type MetricsServer,
  openMetricsServer,
  parseMetricsEndpoint,
} from "./metrics-server.js";
export {
  counter,
  formatMetric,
  gauge,
  type HistogramSample,
  histogram,
  type Metric,
  plain,
  processMetrics,
  type Sample,
} from "./metrics-text.js";
