// What kubectl asks about itself (`auth can-i`, `auth whoami`, `cluster-info`). There is one token, and its bearer may
// do everything, so the answers are short. Nothing of it is stored.
// Source: Kubernetes API reference, authorization.k8s.io/v1, authentication.k8s.io/v1, core/v1 ServiceList.
import type { FastifyInstance } from "fastify";
import { isObject } from "../../base/json/index.js";
import { ApiError } from "./errors.js";
import { negotiate } from "./negotiate.js";

export interface Review {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
}

const USER = { username: "plinth", groups: ["system:masters", "system:authenticated"] };
const EVERYTHING = {
  resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
  nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
  incomplete: false,
};

const authorization = { group: "authorization.k8s.io", version: "v1" } as const;
const authentication = { group: "authentication.k8s.io", version: "v1" } as const;
const STATUS_BY_REVIEW: ReadonlyMap<Review, object> = new Map<Review, object>([
  [
    { ...authorization, kind: "SelfSubjectAccessReview", plural: "selfsubjectaccessreviews" },
    { allowed: true, reason: "the bearer of the token may do everything" },
  ],
  [{ ...authorization, kind: "SelfSubjectRulesReview", plural: "selfsubjectrulesreviews" }, EVERYTHING],
  [{ ...authentication, kind: "SelfSubjectReview", plural: "selfsubjectreviews" }, { userInfo: USER }],
]);

/** For discovery: they can be created, and are answered at once. */
export const REVIEWS: readonly Review[] = [...STATUS_BY_REVIEW.keys()];

/** `kubectl cluster-info` lists the Services that belong to the cluster; there are none, nor any other Service. */
export const SERVICES = {
  plural: "services",
  singular: "service",
  kind: "Service",
  shortName: "svc",
} as const;

export function registerReviews(server: FastifyInstance): void {
  for (const [review, status] of STATUS_BY_REVIEW) {
    const apiVersion = `${review.group}/${review.version}`;
    server.post(`/apis/${apiVersion}/${review.plural}`, async (request, reply) => {
      const { body } = request;
      if (!isObject(body) || body["kind"] !== review.kind || body["apiVersion"] !== apiVersion) {
        throw new ApiError("BadRequest", `expected a "${review.kind}" of "${apiVersion}"`);
      }
      reply.code(201);
      const { kind, spec } = body;
      return { kind, apiVersion, metadata: {}, ...(spec === undefined ? {} : { spec }), status };
    });
  }
  for (const path of ["/api/v1/services", "/api/v1/namespaces/:namespace/services"]) {
    server.get(path, async (request) => {
      const metadata = { resourceVersion: "1" };
      if (negotiate(request.headers.accept) === "table") {
        return { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions: [], rows: [] };
      }
      return { kind: "ServiceList", apiVersion: "v1", metadata, items: [] };
    });
  }
}
