// Pods that no document describes: all of which only some labels and perhaps the namespace are known. A selector counts
// for them when it selects every such pod, whatever else it is labelled with. Pure.
import { type EndpointSelector, NAMESPACE_NAME_LABEL } from "../policy-model.js";
import { type LabelSelector, type LabelSelectorRequirement, type Labels, selects } from "../selector.js";

export interface UnknownPods {
  readonly namespace?: { readonly name: string; readonly labels: Labels };
  /** What the namespace is known to fulfil; nothing while `namespace` is known. */
  readonly namespaceRequirements: readonly LabelSelectorRequirement[];
  readonly podRequirements: readonly LabelSelectorRequirement[];
}

/** Any pod in any namespace. */
export const ANY_POD: UnknownPods = { namespaceRequirements: [], podRequirements: [] };
export const ANY_POD_TEXT = "entire-cluster";

/** The pods that `selector` selects. `labelsOf` gives the labels of a namespace. */
export function unknownPodsOf(
  selector: EndpointSelector,
  labelsOf: (namespace: string) => Labels,
): UnknownPods {
  const podRequirements = requirementsOf(selector.podSelector);
  const requirements = requirementsOf(selector.namespaceSelector);
  const name = selector.namespace ?? nameAmong(requirements);
  return name === undefined
    ? { namespaceRequirements: requirements, podRequirements }
    : { namespace: { name, labels: labelsOf(name) }, namespaceRequirements: [], podRequirements };
}

/** The namespace, when its name is all that is asked for. */
function nameAmong(requirements: readonly LabelSelectorRequirement[]): string | undefined {
  const [only, ...others] = requirements;
  if (only?.key !== NAMESPACE_NAME_LABEL || others.length > 0 || only.operator !== "In") return undefined;
  return only.values?.length === 1 ? only.values[0] : undefined;
}

/** Labels as requirements, too; sorted, so that equal selectors have equal requirements. */
function requirementsOf(selector: LabelSelector = {}): LabelSelectorRequirement[] {
  const fixed = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => ({
    key,
    operator: "In",
    values: [value],
  }));
  const others = (selector.matchExpressions ?? []).map(({ key, operator, values = [] }) => ({
    key,
    operator,
    values: [...new Set(values)].sort(),
  }));
  const keyed = [...fixed, ...others].map((one) => [JSON.stringify(one), one] as const);
  return [...new Map(keyed.sort(([a], [b]) => (a < b ? -1 : 1))).values()];
}

/** Whether `selector` selects each of `pods`. Never too often; seldom where it could have been told from several labels. */
export function selectsEach(selector: EndpointSelector, pods: UnknownPods): boolean {
  if (!requirementsOf(selector.podSelector).every((one) => follows(one, pods.podRequirements))) return false;
  if (selector.namespace !== undefined) return pods.namespace?.name === selector.namespace;
  if (pods.namespace !== undefined) return selects(selector.namespaceSelector ?? {}, pods.namespace.labels);
  return requirementsOf(selector.namespaceSelector).every((one) => follows(one, pods.namespaceRequirements));
}

function follows(wanted: LabelSelectorRequirement, known: readonly LabelSelectorRequirement[]): boolean {
  const values = wanted.values ?? [];
  return known.some((one) => {
    const has = one.values ?? [];
    if (one.key !== wanted.key) return false;
    switch (wanted.operator) {
      case "In":
        return one.operator === "In" && has.every((value) => values.includes(value));
      case "NotIn":
        if (one.operator === "In") return !has.some((value) => values.includes(value));
        if (one.operator === "NotIn") return values.every((value) => has.includes(value));
        return one.operator === "DoesNotExist";
      case "Exists":
        return one.operator === "In" || one.operator === "Exists";
      default:
        return wanted.operator === "DoesNotExist" && one.operator === "DoesNotExist";
    }
  });
}

/** "entire-cluster", "shop/[pod with {app=a}]", "[namespace with {team=x}]/[all pods]". */
export function unknownPodsText({ namespace, namespaceRequirements, podRequirements }: UnknownPods): string {
  const anywhere = namespace === undefined && namespaceRequirements.length === 0;
  if (anywhere && podRequirements.length === 0) return ANY_POD_TEXT;
  const some = anywhere ? "[all namespaces]" : `[namespace with ${requirementsText(namespaceRequirements)}]`;
  const pods =
    podRequirements.length === 0 ? "[all pods]" : `[pod with ${requirementsText(podRequirements)}]`;
  return `${namespace?.name ?? some}/${pods}`;
}

function requirementsText(requirements: readonly LabelSelectorRequirement[]): string {
  const isFixed = (one: LabelSelectorRequirement): boolean =>
    one.operator === "In" && one.values?.length === 1;
  const texts = [
    ...requirements.filter(isFixed).map(({ key, values }) => `${key}=${values?.[0]}`),
    ...requirements
      .filter((one) => !isFixed(one))
      .map(
        ({ key, operator, values }) =>
          `{Key:${key},Operator:${operator},Values:[${(values ?? []).join(" ")}],}`,
      ),
  ];
  return `{${texts.join(",")}}`;
}
