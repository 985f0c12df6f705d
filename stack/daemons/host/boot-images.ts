// What machines can boot on this host: the built-in guest image, made on first need, and images of the user's own.
// Thread: main.
import { accessSync, constants } from "node:fs";
import { describeError } from "../../../base/errors/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock } from "../../../base/time/index.js";
import { ensureGuestImage, type GuestImage, type GuestImageOptions } from "../../../hypervisor-core/index.js";
import type { Informer, ResourceClient } from "../../api/index.js";
import type { Image } from "../../resources/index.js";
import { writeStatus } from "./api-writer.js";
import type { BootState } from "./machine-plan.js";
import { WorkQueue } from "./work-queue.js";

export interface BootImagesOptions {
  readonly cacheDir: string;
  readonly kernelFile?: string | undefined;
  /** The state of some image changed. */
  readonly onChange: () => void;
  /** For tests: makes the built-in image. */
  readonly build?: (options: GuestImageOptions) => Promise<GuestImage>;
}

export class BootImages {
  readonly #options: BootImagesOptions;
  readonly #client: ResourceClient;
  readonly #log: Logger;
  readonly #queue: WorkQueue;
  readonly #images: Informer<Image>;
  readonly #guest: Promise<GuestImage>;
  #built: GuestImage | undefined;
  #progress = "waiting for the guest image to be made";

  constructor(
    options: BootImagesOptions,
    modules: { readonly client: ResourceClient; readonly clock: Clock; readonly log: Logger },
  ) {
    this.#options = options;
    this.#client = modules.client;
    this.#log = modules.log;
    let built: (image: GuestImage) => void = () => {};
    this.#guest = new Promise((resolve) => {
      built = resolve;
    });
    this.#queue = new WorkQueue(
      {
        name: "images",
        concurrency: 1,
        run: (key) => (key === "" ? this.#build(built) : this.#show(key)),
      },
      modules,
    );
    this.#images = modules.client.watchKind("Image", {
      onChange: ({ object }) => {
        this.#queue.add(object.metadata.name);
        options.onChange();
      },
    });
    this.#queue.add("");
  }

  /** Resolves when the built-in image is there; building is tried again until it is. */
  get guest(): Promise<GuestImage> {
    return this.#guest;
  }

  get synced(): Promise<void> {
    return this.#images.synced;
  }

  state(name: string): BootState {
    const image = this.#images.get({ name });
    if (image === undefined) return { ready: false, message: `waiting for Image ${name} to exist` };
    const { spec } = image;
    if (spec.type === "Builtin") {
      if (this.#built === undefined) return { ready: false, message: this.#progress };
      const { kernel, initramfs } = this.#built;
      return { ready: true, seeded: true, boot: { type: "kernel", kernel, initramfs, arguments: "" } };
    }
    const missing = unreadable([spec.kernel, spec.initrd, spec.path]);
    if (missing !== undefined)
      return { ready: false, message: `waiting for the file ${missing} of Image ${name}` };
    if (spec.type === "Kernel") {
      const { kernel = "", initrd } = spec;
      return {
        ready: true,
        seeded: false,
        boot: { type: "kernel", kernel, initramfs: initrd, arguments: "" },
      };
    }
    const { path = "", format = "raw" } = spec;
    return { ready: true, seeded: false, boot: { type: "disk", path, format } };
  }

  async close(): Promise<void> {
    this.#images.close();
    await this.#queue.close();
  }

  async #build(built: (image: GuestImage) => void): Promise<undefined> {
    const { cacheDir, kernelFile, build = ensureGuestImage } = this.#options;
    try {
      this.#built = await build({ cacheDir, kernelFile, progress: (text) => this.#say(text) });
    } catch (thrown) {
      this.#say(`the guest image cannot be made: ${describeError(thrown)}`);
      throw thrown;
    }
    this.#log.info({ kernel: this.#built.kernel, release: this.#built.release }, "guest image ready");
    built(this.#built);
    this.#changed();
    return undefined;
  }

  #say(text: string): void {
    this.#progress = text;
    this.#log.info(text);
    this.#changed();
  }

  #changed(): void {
    for (const image of this.#images.list()) this.#queue.add(image.metadata.name);
    this.#options.onChange();
  }

  async #show(name: string): Promise<number | undefined> {
    const image = this.#images.get({ name });
    if (image === undefined) return undefined;
    const state = this.state(name);
    const fields = {
      phase: state.ready ? "Ready" : "Pending",
      observedGeneration: image.metadata.generation,
    };
    await writeStatus(this.#client, "Image", image, fields, [
      state.ready
        ? { type: "Ready", status: "True", reason: "Ready", message: "" }
        : { type: "Ready", status: "False", reason: "NotReady", message: state.message },
    ]);
    if (state.ready) return undefined;
    // A file of the user's own may appear without anybody telling us.
    this.#options.onChange();
    return 5_000;
  }
}

function unreadable(paths: readonly (string | undefined)[]): string | undefined {
  return paths.find((path) => {
    if (path === undefined) return false;
    try {
      accessSync(path, constants.R_OK);
      return false;
    } catch {
      return true;
    }
  });
}
