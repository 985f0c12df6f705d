import fc from "fast-check";
import { expect, test } from "vitest";
import { PlinthError } from "../base/errors/index.js";
import * as parameters from "./parameters.js";

const readers: Record<string, (params: parameters.Params) => unknown> = {
  name: (params) => parameters.volumeName(params),
  label: (params) => parameters.label(params, "label"),
  sizeBytes: parameters.sizeBytes,
  copies: parameters.copies,
  socket: (params) => parameters.absolutePath(params, "socket"),
  disks: parameters.diskPaths,
  uid: parameters.optionalUid,
  readOnly: (params) => parameters.flag(params, "readOnly"),
};

test("any JSON value is taken or refused with the field's name, numbers that no double holds among them", () => {
  const huge = fc.bigInt({ min: 2n ** 53n });
  const values = fc.oneof({ arbitrary: fc.jsonValue(), weight: 9 }, huge, fc.array(huge));
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(readers)), values, (field, value) => {
      try {
        readers[field]!({ [field]: value });
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PlinthError);
        expect(thrown).toMatchObject({ code: "PARAMETER_INVALID", field });
      }
    }),
    { numRuns: 1000 },
  );
});

test("volumeName() puts a bare name into the default namespace and refuses what could escape", () => {
  expect(parameters.volumeName({ name: "v1" })).toBe("default/v1");
  expect(parameters.volumeName({ name: "shop/db-data" })).toBe("shop/db-data");
  for (const name of ["", "/", "a/", "/b", "a/b/c", "A", "a@b", "../x", "a b", "-a", "a\n"]) {
    expect(() => parameters.volumeName({ name })).toThrowError(expect.objectContaining({ field: "name" }));
  }
});

test("sizeBytes() takes whole blocks up to the largest volume", () => {
  expect(parameters.sizeBytes({ sizeBytes: 4096 })).toBe(4096);
  for (const sizeBytes of [0, -4096, 1, 4097, 2 ** 50, Number.NaN, 4096.5, "4096"]) {
    expect(() => parameters.sizeBytes({ sizeBytes })).toThrowError(
      expect.objectContaining({ code: "PARAMETER_INVALID" }),
    );
  }
});
