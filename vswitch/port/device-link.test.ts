import { expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { DeviceLink } from "./device-link.js";

const nothing = { open: () => {}, close: () => {} };

it("a device that is not there, or not to be set, is refused by its name, in the words that tools look for", () => {
  expect(() => new DeviceLink({ name: "plnone0", ...nothing })).toThrow(
    "could not open network device plnone0 (No such device)",
  );
  const open = (): void => {
    throw new PlinthError("EPERM", "socket(AF_PACKET) lo failed: EPERM");
  };
  // As root the loopback can be opened, and then `open` refuses; else setting it up is what fails.
  expect(() => new DeviceLink({ name: "lo", open, close: () => {} })).toThrow(
    /^could not open network device lo: .*EPERM/,
  );
});

it("a device that stays is opened once, and asked after now and then", () => {
  let opened = 0;
  const open = (): void => {
    opened++;
  };
  let link: DeviceLink;
  try {
    link = new DeviceLink({ name: "lo", open, close: () => {} });
  } catch (thrown) {
    // Without privileges the loopback cannot be set up.
    expect((thrown as PlinthError).code).toBe("EPERM");
    return;
  }
  expect([link.isUp, link.lastError, opened]).toEqual([true, "", 1]);
  expect(link.poll(1e9)).toBe(true);
  expect(link.poll(1e9 + 1)).toBe(false);
  expect([link.isUp, opened]).toEqual([true, 1]);
  link.close();
  expect(link.isUp).toBe(false);
});
