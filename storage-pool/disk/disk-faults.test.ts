import { expect, test } from "vitest";
import { DiskFaults } from "./disk-faults.js";

test("what is found is told until everything was looked through, and what could not be put right after that, too", () => {
  const faults = new DiskFaults();
  expect(faults.text).toBe("");
  faults.note(3, 700, true);
  faults.note(3, 701, false);
  faults.note(3, 701, false);
  faults.note(4, 9, false);
  faults.cut = [4096, 8192];
  expect(faults.text).toBe(
    "its file was cut short: seen with 4096 bytes, of 8192; 2 blocks on it are bad; a scrub puts right what has a good copy elsewhere; " +
      "1 block on it was bad and was put right from other copies; a scrub looks at the others",
  );
  expect(faults.foundCount).toBe(4);
  faults.beginLook();
  faults.note(4, 9, false);
  // Somebody wrote it anew meanwhile, and a client found another one.
  faults.note(3, 701, true);
  faults.note(5, 1, false);
  faults.endLook();
  expect(faults.text).toBe("2 blocks on it are bad; a scrub puts right what has a good copy elsewhere");
  faults.forgetSlot(4);
  expect(faults.text).toBe("1 block on it is bad; a scrub puts right what has a good copy elsewhere");
  faults.forgetSlot(5);
  expect(faults.text).toBe("");
});

test("a look that did not come to its end takes nothing back, and so many places are only counted", () => {
  const faults = new DiskFaults();
  faults.note(1, 1, true);
  faults.beginLook();
  faults.beginLook();
  faults.endLook();
  expect(faults.text).toBe("");
  for (let i = 0; i < 70_000; i++) faults.note(i, 0, false);
  faults.endLook();
  expect(faults.text).toBe(
    "at least 65536 blocks on it are bad; a scrub puts right what has a good copy elsewhere",
  );
  faults.beginLook();
  expect(faults.text).not.toBe("");
});
