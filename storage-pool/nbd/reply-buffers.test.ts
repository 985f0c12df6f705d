import { expect, test } from "vitest";
import { DataBuffer } from "../disk/data-buffer.js";
import { REPLY_QUEUE_BYTES_MAX } from "../limits.js";
import { REPLY_BUFFER_LEAST, ReplyBuffers } from "./reply-buffers.js";

test("take() gives what is large enough, and first what came back last", () => {
  const buffers = new ReplyBuffers();
  const small = buffers.take(1);
  expect(small.bytes.byteLength).toBe(REPLY_BUFFER_LEAST);
  const [one, two] = [buffers.take(REPLY_BUFFER_LEAST + 1), buffers.take(2 * REPLY_BUFFER_LEAST)];
  expect(one.bytes.byteLength).toBe(2 * REPLY_BUFFER_LEAST);
  expect(two).not.toBe(one);
  for (const buffer of [small, one, two]) buffers.give(buffer);
  expect(buffers.take(REPLY_BUFFER_LEAST + 5)).toBe(two);
  expect(buffers.take(2 * REPLY_BUFFER_LEAST)).toBe(one);
  expect(buffers.take(REPLY_BUFFER_LEAST)).toBe(small);
  expect(buffers.take(REPLY_BUFFER_LEAST)).not.toBe(small);
});

test("give() keeps so much and no more, and nothing that is huge", () => {
  const buffers = new ReplyBuffers();
  const huge = buffers.take(REPLY_QUEUE_BYTES_MAX + 1);
  expect(huge.bytes.byteLength).toBe(REPLY_QUEUE_BYTES_MAX + 1);
  buffers.give(huge);
  buffers.give(new DataBuffer(0));
  expect(buffers.take(1).bytes.byteLength).toBe(REPLY_BUFFER_LEAST);
  expect(buffers.take(REPLY_QUEUE_BYTES_MAX + 1)).not.toBe(huge);
  const given = Array.from({ length: 5 }, () => buffers.take(REPLY_QUEUE_BYTES_MAX));
  for (const buffer of given) buffers.give(buffer);
  const again = Array.from({ length: 5 }, () => buffers.take(REPLY_QUEUE_BYTES_MAX));
  expect(again.filter((buffer) => given.includes(buffer)).length).toBe(4);
});
