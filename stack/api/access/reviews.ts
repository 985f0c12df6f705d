// Questions about permissions, answered at once and never stored: `kubectl auth can-i`, `auth can-i --list`, `auth whoami`;
// and the empty list of Services that `kubectl cluster-info` asks for.
// Source: Kubernetes API reference, authorization.k8s.io/v1, authentication.k8s.io/v1, core/v1 ServiceList.
import type { FastifyInstance, FastifyRequest } from "fastify";
import { isObject } from "../../../base/json/index.js";
import { FieldErrors, type PolicyRule } from "../../resources/index.js";
import { ApiError, invalid } from "../errors.js";
import { negotiate } from "../negotiate.js";
import type { Attributes } from "./attributes.js";
import type { Authorizer } from "./authorizer.js";
import { type User, userOf } from "./user.js";

export interface ReviewKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

const authorization = { group: "authorization.k8s.io", version: "v1", namespaced: false } as const;
const SELF_ACCESS = { ...authorization, kind: "SelfSubjectAccessReview", plural: "selfsubjectaccessreviews" };
const ACCESS = { ...authorization, kind: "SubjectAccessReview", plural: "subjectaccessreviews" };
const LOCAL_ACCESS = {
  ...authorization,
  kind: "LocalSubjectAccessReview",
  plural: "localsubjectaccessreviews",
  namespaced: true,
};
const SELF_RULES = { ...authorization, kind: "SelfSubjectRulesReview", plural: "selfsubjectrulesreviews" };
const SELF = {
  group: "authentication.k8s.io",
  version: "v1",
  kind: "SelfSubjectReview",
  plural: "selfsubjectreviews",
  namespaced: false,
};

/** For discovery: they can be created, and are answered at once. */
export const REVIEWS: readonly ReviewKind[] = [SELF_ACCESS, ACCESS, LOCAL_ACCESS, SELF_RULES, SELF];

/** `kubectl cluster-info` lists the Services that belong to the cluster; there are none, nor any other Service. */
export const SERVICES = {
  plural: "services",
  singular: "service",
  kind: "Service",
  shortName: "svc",
} as const;

type Spec = Readonly<Record<string, unknown>>;
type Answer = (spec: Spec, user: User, namespace: string | undefined) => Promise<object>;

export function registerReviews(
  server: FastifyInstance,
  authorizer: Authorizer,
  userOfRequest: (request: FastifyRequest) => User,
): void {
  const access = async (review: ReviewKind, spec: Spec, user: User): Promise<object> => {
    const { allowed, reason } = await authorizer.decide(user, attributesIn(review, spec));
    return { allowed, ...(reason === "" ? {} : { reason }) };
  };
  const answers: readonly (readonly [ReviewKind, Answer])[] = [
    [SELF_ACCESS, (spec, user) => access(SELF_ACCESS, spec, user)],
    [ACCESS, (spec) => access(ACCESS, spec, subjectIn(ACCESS, spec))],
    [
      LOCAL_ACCESS,
      (spec, _user, namespace) => {
        const resource = isObject(spec["resourceAttributes"]) ? spec["resourceAttributes"] : {};
        if (resource["namespace"] !== namespace) {
          throw new ApiError(
            "BadRequest",
            `spec.resourceAttributes.namespace must match namespace: ${namespace}`,
          );
        }
        return access(LOCAL_ACCESS, spec, subjectIn(LOCAL_ACCESS, spec));
      },
    ],
    [
      SELF_RULES,
      async (spec, user) => rulesStatus(await authorizer.rulesOf(user, word(spec["namespace"]) || "default")),
    ],
    [SELF, async (_spec, user) => ({ userInfo: user })],
  ];
  for (const [review, answer] of answers) {
    const apiVersion = `${review.group}/${review.version}`;
    const place = review.namespaced ? "/namespaces/:namespace" : "";
    server.post(`/apis/${apiVersion}${place}/${review.plural}`, async (request, reply) => {
      const { body } = request;
      if (!isObject(body) || body["kind"] !== review.kind || body["apiVersion"] !== apiVersion) {
        throw new ApiError("BadRequest", `expected a "${review.kind}" of "${apiVersion}"`);
      }
      const spec = isObject(body["spec"]) ? body["spec"] : {};
      const { namespace } = request.params as { namespace?: string };
      const status = await answer(spec, userOfRequest(request), namespace);
      reply.code(201);
      return { kind: review.kind, apiVersion, metadata: {}, ...(review === SELF ? {} : { spec }), status };
    });
  }
  registerServices(server);
}

function attributesIn(review: ReviewKind, spec: Spec): Attributes {
  const { resourceAttributes, nonResourceAttributes } = spec;
  if (isObject(resourceAttributes) === isObject(nonResourceAttributes)) {
    const errors = new FieldErrors();
    errors.invalid(
      "spec.resourceAttributes",
      "…",
      "exactly one of nonResourceAttributes or resourceAttributes must be specified",
    );
    throw invalid(review, "", errors.list);
  }
  if (isObject(nonResourceAttributes))
    return { verb: word(nonResourceAttributes["verb"]), path: word(nonResourceAttributes["path"]) };
  const given = resourceAttributes as Spec;
  const text = (name: string): string => word(given[name]);
  return {
    verb: text("verb"),
    group: text("group"),
    resource: text("resource"),
    subresource: text("subresource"),
    namespace: text("namespace"),
    name: text("name"),
  };
}

function subjectIn(review: ReviewKind, spec: Spec): User {
  const { groups = [] } = spec;
  const user = word(spec["user"]);
  const named = Array.isArray(groups)
    ? groups.filter((group): group is string => typeof group === "string")
    : [];
  if (user === "" && named.length === 0) {
    const errors = new FieldErrors();
    errors.invalid("spec.user", user, "at least one of user or group must be specified");
    throw invalid(review, "", errors.list);
  }
  const { username } = userOf(user, []);
  // Only the groups that are asked about: the answer is about them.
  return { username, groups: named };
}

const word = (value: unknown): string => (typeof value === "string" ? value : "");

function rulesStatus(rules: readonly PolicyRule[]): object {
  const isPath = ({ nonResourceURLs = [] }: PolicyRule): boolean => nonResourceURLs.length > 0;
  return {
    resourceRules: rules.filter((rule) => !isPath(rule)),
    nonResourceRules: rules.filter(isPath),
    incomplete: false,
  };
}

function registerServices(server: FastifyInstance): void {
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
