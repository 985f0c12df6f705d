import { expect, it } from "vitest";
import { defineIn } from "./ffi.js";

it("defineIn() takes the first library that is installed and has the function", () => {
  const names = ["libplinth-has-no-such-library.so.1", "libm.so.6", "libc.so.6"];
  const getPid = defineIn<() => number>(names, "int getpid()");
  expect(getPid?.()).toBe(process.pid);
});

it("defineIn() is undefined where no library has the function, and where there is no library", () => {
  expect(defineIn(["libc.so.6"], "int plinth_has_no_such_function(int number)")).toBeUndefined();
  expect(defineIn(["libplinth-has-no-such-library.so.1"], "int getpid()")).toBeUndefined();
});
