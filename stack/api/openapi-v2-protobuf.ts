// An OpenAPI 2 document in the binary form that kubectl and client-go ask /openapi/v2 for: the messages of package
// openapi.v2. Only the messages and fields that our document has. Pure.
// Source: protobuf wire format; field numbers from openapiv2/OpenAPIv2.proto of google/gnostic. Values of any type, and
// extensions, are given as YAML there; JSON is YAML.

/** Writes `value` as a field of that number: any count of chunks. */
type Write = (number: number, value: unknown) => Uint8Array[];
type Fields = Readonly<Record<string, readonly [number, Write]>>;

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Uint8Array.from([...bytes, rest]);
}

const tag = (number: number, wireType: number): Uint8Array => varint(number * 8 + wireType);

function delimited(number: number, chunks: readonly Uint8Array[]): Uint8Array[] {
  const length = chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return [tag(number, DELIMITED), varint(length), ...chunks];
}

const text: Write = (number, value) => delimited(number, [Buffer.from(String(value))]);
const truth: Write = (number, value) => [tag(number, VARINT), varint(value === true ? 1 : 0)];
const whole: Write = (number, value) => [tag(number, VARINT), varint(Number(value))];
const real: Write = (number, value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(Number(value));
  return [tag(number, FIXED64), bytes];
};
const any: Write = (number, value) => delimited(number, text(2, JSON.stringify(value)));
const list =
  (of: Write): Write =>
  (number, value) =>
    (value as unknown[]).flatMap((each) => of(number, each));
/** A message whose one field, of number `inner`, is the value. */
const within =
  (inner: number, of: Write): Write =>
  (number, value) =>
    delimited(number, of(inner, value));
/** A map as a message: entries of name (1) and value (2) under the number `inner`. */
const map =
  (inner: number, of: Write): Write =>
  (number, value) =>
    delimited(number, entries(inner, of, Object.entries(value as object)));

function entries(number: number, of: Write, all: readonly (readonly [string, unknown])[]): Uint8Array[] {
  return all.flatMap(([name, value]) => delimited(number, [...text(1, name), ...of(2, value)]));
}

/** `extensions`: the number under which whatever begins with x- stands. */
function message(fields: () => Fields, extensions?: number): Write {
  return (number, value) => {
    const all = Object.entries(value as object);
    const chunks = all.flatMap(([name, each]) => {
      const [at, write] = fields()[name] ?? [];
      return at === undefined || write === undefined ? [] : write(at, each);
    });
    const extra = all.filter(([name]) => name.startsWith("x-"));
    return delimited(number, [
      ...chunks,
      ...(extensions === undefined ? [] : entries(extensions, any, extra)),
    ]);
  };
}

const schema: Write = message(() => SCHEMA, 31);
const SCHEMA: Fields = {
  $ref: [1, text],
  format: [2, text],
  title: [3, text],
  description: [4, text],
  default: [5, any],
  maximum: [7, real],
  minimum: [9, real],
  maxLength: [11, whole],
  minLength: [12, whole],
  pattern: [13, text],
  maxItems: [14, whole],
  minItems: [15, whole],
  required: [19, list(text)],
  enum: [20, list(any)],
  additionalProperties: [
    21,
    (number, value) => (typeof value === "boolean" ? within(2, truth) : within(1, schema))(number, value),
  ],
  type: [22, within(1, text)],
  items: [23, within(1, schema)],
  properties: [25, map(1, schema)],
  readOnly: [27, truth],
  example: [30, any],
};

const body = message(() => ({
  description: [1, text],
  name: [2, text],
  in: [3, text],
  required: [4, truth],
  schema: [5, schema],
}));
const query = message(() => ({
  required: [1, truth],
  in: [2, text],
  description: [3, text],
  name: [4, text],
  type: [6, text],
  uniqueItems: [20, truth],
}));
const path = message(() => ({
  required: [1, truth],
  in: [2, text],
  description: [3, text],
  name: [4, text],
  type: [5, text],
  uniqueItems: [19, truth],
}));
/** A parameter is of one of three kinds, by where it stands. */
const parameter: Write = (number, value) => {
  const { in: place } = value as { in: string };
  const [inner, of]: [number, Write] =
    place === "body" ? [1, body] : [2, place === "path" ? within(4, path) : within(3, query)];
  return within(1, within(inner, of))(number, value);
};

const response = message(() => ({ description: [1, text], schema: [2, within(1, schema)] }));
const operation = message(
  () => ({
    tags: [1, list(text)],
    description: [3, text],
    operationId: [5, text],
    produces: [6, list(text)],
    consumes: [7, list(text)],
    parameters: [8, list(parameter)],
    responses: [9, map(1, within(1, response))],
  }),
  13,
);
const pathItem = message(() => ({
  get: [2, operation],
  put: [3, operation],
  post: [4, operation],
  delete: [5, operation],
  patch: [8, operation],
  parameters: [9, list(parameter)],
}));
const document: Fields = {
  swagger: [1, text],
  info: [2, message(() => ({ title: [1, text], version: [2, text] }))],
  paths: [8, map(2, pathItem)],
  definitions: [9, map(1, schema)],
  securityDefinitions: [
    13,
    map(
      1,
      within(
        2,
        message(() => ({ type: [1, text], name: [2, text], in: [3, text] })),
      ),
    ),
  ],
};

/** `value` is a document of openapi-v2.ts. */
export function encodeOpenApiV2(value: Readonly<Record<string, unknown>>): Uint8Array {
  const chunks = Object.entries(document).flatMap(([name, [number, write]]) =>
    value[name] === undefined ? [] : write(number, value[name]),
  );
  return Buffer.concat(chunks);
}
