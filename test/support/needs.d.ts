import type { TestOptions } from "vitest";

declare module "vitest" {
  interface TaskMeta {
    /** What the test needs and this machine may lack. */
    needs?: string;
  }
}
/** Options for test() or describe(): runs where we are root. */
export declare const needsRoot: TestOptions;
/** Options for tests of what calls OpenSSL's functions inside Node. */
export declare const needsOpenSsl: TestOptions;
/** Options for tests that read the packet vectors, which are not part of the project. */
export declare function needsVectors(file: string): TestOptions;
