import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { silentLog } from "../base/log/index.js";
import { startStoraged } from "./storaged.js";

test("memory for maps with which nothing would go on is refused before anything is made", async () => {
  const dir = mkdtempSync(join(tmpdir(), "plinth-"));
  try {
    const options = { dir: join(dir, "storage"), disks: [], mapMemoryBytes: 4096, log: silentLog };
    await expect(startStoraged(options)).rejects.toMatchObject({
      code: "PARAMETER_INVALID",
      message: "memory for maps is 8388608 bytes at least, not 4096",
    });
    expect(existsSync(options.dir)).toBe(false);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
