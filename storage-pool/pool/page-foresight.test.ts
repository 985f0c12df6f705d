import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { BLOCK_SIZE } from "../limits.js";
import { PAGE_ENTRIES, PAGE_SIZE, RECORD_DATA, RECORD_MARK, RECORD_UNMAP } from "../log/format.js";
import { MemoryPool } from "../testing/memory-pool.js";
import { PageForesight } from "./page-foresight.js";

const SPAN = PAGE_ENTRIES * BLOCK_SIZE;
const MIB = 1024 * 1024;

test("the pages that a log will change are asked for in the order of their places, neighbours together, each once", () => {
  const memory = new MemoryPool(1, 64 * MIB);
  const volume = memory.createVolume(1, 1024 * SPAN);
  const buffer = new DataBuffer(BLOCK_SIZE);
  buffer.bytes.fill(1);
  for (let index = 0; index < 40; index++)
    expect(volume.stageWrite(buffer, 0, index * SPAN, BLOCK_SIZE)).toBe(0);
  expect(volume.commit()).toBe(0);
  memory.close();
  const asked: [number, number][] = [];
  const open = memory.files.open.bind(memory.files);
  const expectRange = (at: number, length: number) =>
    void asked.push([(at - BLOCK_SIZE) / PAGE_SIZE, length / PAGE_SIZE]);
  memory.files.open = (name) => {
    const source = open(name);
    return source === undefined ? undefined : { ...source, expect: expectRange };
  };
  const { map } = memory.reopen().volume(1).head;
  // Counting has read them all.
  for (let index = 0; index < 40; index++) expect(map.page(index)?.isResident).toBe(false);
  const foresight = new PageForesight(map);
  foresight.note({ kind: RECORD_DATA, offset: 30 * SPAN + 5, length: BLOCK_SIZE });
  // Pages in the middle of what was trimmed go as a whole.
  foresight.note({ kind: RECORD_UNMAP, offset: 9 * SPAN + BLOCK_SIZE, length: 10 * SPAN });
  foresight.note({ kind: RECORD_DATA, offset: 2 * SPAN, length: BLOCK_SIZE });
  foresight.note({ kind: RECORD_DATA, offset: 2 * SPAN + BLOCK_SIZE, length: BLOCK_SIZE });
  foresight.note({ kind: RECORD_MARK, offset: 20 * SPAN, length: SPAN });
  // What is no page yet, or beyond the end, is not there to be read.
  foresight.note({ kind: RECORD_DATA, offset: 50 * SPAN, length: BLOCK_SIZE });
  foresight.note({ kind: RECORD_UNMAP, offset: 1023 * SPAN, length: 2 ** 40 });
  volume.read(buffer, 0, 39 * SPAN, BLOCK_SIZE);
  expect(asked).toEqual([]);
  foresight.ask();
  expect(asked).toEqual([
    [2, 1],
    [9, 1],
    [19, 1],
    [30, 1],
  ]);
  foresight.ask();
  expect(asked.length).toBe(4);
});
