// What is wrong with an object, field by field, in the words and codes of Kubernetes (metav1.StatusCause).

export interface FieldError {
  /** metav1.CauseType */
  readonly reason:
    | "FieldValueInvalid"
    | "FieldValueRequired"
    | "FieldValueNotSupported"
    | "FieldValueTypeInvalid"
    | "FieldValueDuplicate"
    | "FieldValueForbidden"
    | "FieldValueTooLong"
    | "FieldValueTooMany";
  /** What was found and what was expected. */
  readonly message: string;
  /** "spec.subnets[0]" */
  readonly field: string;
}

const VALUE_LENGTH_MAX = 80;

/** Collects errors while an object is looked at. Invariant: at most ERRORS_MAX are kept. */
export class FieldErrors {
  static readonly ERRORS_MAX = 64;
  readonly list: FieldError[] = [];

  /** `expected` completes the sentence, e.g. "must be between 1 and 4094". */
  invalid(field: string, value: unknown, expected: string): void {
    this.#add("FieldValueInvalid", field, `Invalid value: ${show(value)}: ${expected}`);
  }

  wrongType(field: string, value: unknown, expected: string): void {
    this.#add("FieldValueTypeInvalid", field, `Invalid value: ${show(value)}: must be ${expected}`);
  }

  required(field: string, expected = ""): void {
    this.#add(
      "FieldValueRequired",
      field,
      expected === "" ? "Required value" : `Required value: ${expected}`,
    );
  }

  notSupported(field: string, value: unknown, supported: readonly string[]): void {
    const words = supported.map((word) => JSON.stringify(word)).join(", ");
    this.#add(
      "FieldValueNotSupported",
      field,
      `Unsupported value: ${show(value)}: supported values: ${words}`,
    );
  }

  duplicate(field: string, value: unknown): void {
    this.#add("FieldValueDuplicate", field, `Duplicate value: ${show(value)}`);
  }

  forbidden(field: string, why: string): void {
    this.#add("FieldValueForbidden", field, `Forbidden: ${why}`);
  }

  tooMany(field: string, count: number, countMax: number): void {
    this.#add("FieldValueTooMany", field, `Too many: ${count}: must have at most ${countMax} items`);
  }

  tooLong(field: string, lengthMax: number): void {
    this.#add("FieldValueTooLong", field, `Too long: may not be more than ${lengthMax} bytes`);
  }

  #add(reason: FieldError["reason"], field: string, message: string): void {
    if (this.list.length < FieldErrors.ERRORS_MAX) this.list.push({ reason, message, field });
  }
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
}
