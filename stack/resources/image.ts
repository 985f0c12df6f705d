// Image: what a virtual machine boots.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind } from "./kind.js";
import { Conditions, OneOf, resourceSchema } from "./schema.js";

export const ImageSchema = resourceSchema(
  PLINTH_API_VERSION,
  "Image",
  "What a virtual machine boots: the built-in guest, a kernel with its initial RAM disk, or a disk image.",
  {
    spec: Type.Object(
      {
        type: OneOf(["Builtin", "Kernel", "Disk"], {
          description:
            "Builtin: the guest image that Plinth makes. Kernel: kernel and initrd. Disk: path and format.",
        }),
        kernel: Type.Optional(Type.String({ description: "Absolute path of the kernel, for type Kernel." })),
        initrd: Type.Optional(
          Type.String({ description: "Absolute path of the initial RAM disk, for type Kernel." }),
        ),
        path: Type.Optional(
          Type.String({
            description:
              "Absolute path of the disk image, for type Disk. It is only read: what a machine writes to its system disk is gone when the machine stops; what is to stay goes to Volumes.",
          }),
        ),
        format: Type.Optional(
          OneOf(["raw", "qcow2"], { description: "Form of the disk image, for type Disk." }),
        ),
      },
      { description: "What is wanted." },
    ),
    status: Type.Optional(
      Type.Object(
        {
          phase: Type.Optional(
            OneOf(["Pending", "Ready", "Failed"], { description: "Whether machines can boot it." }),
          ),
          observedGeneration: Type.Optional(
            Type.Integer({ description: "Generation that the status reflects." }),
          ),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type Image = Type.Static<typeof ImageSchema>;

export const imageKind = defineKind<Image>({
  ...plinthKind,
  kind: "Image",
  plural: "images",
  singular: "image",
  shortNames: ["img"],
  namespaced: false,
  schema: ImageSchema,
  columns: [
    { name: "Type", description: "Builtin, Kernel or Disk", value: (image) => image.spec.type },
    {
      name: "Phase",
      description: "Whether machines can boot it",
      value: (image) => image.status?.phase ?? "Pending",
    },
    {
      name: "Source",
      description: "Path",
      wide: true,
      value: (image) => image.spec.path ?? image.spec.kernel,
    },
  ],
  validate: validateImage,
});

const FIELDS_BY_TYPE = {
  Builtin: [],
  Kernel: ["kernel", "initrd"],
  Disk: ["path", "format"],
} as const;

function validateImage(image: Image, errors: FieldErrors): void {
  const { spec } = image;
  const allowed: readonly string[] = FIELDS_BY_TYPE[spec.type];
  for (const field of ["kernel", "initrd", "path", "format"] as const) {
    const value = spec[field];
    if (value === undefined) continue;
    if (!allowed.includes(field)) errors.forbidden(`spec.${field}`, `not used by type ${spec.type}`);
    else if (field !== "format" && !value.startsWith("/")) {
      errors.invalid(`spec.${field}`, value, "must be an absolute path");
    }
  }
  if (spec.type === "Kernel" && spec.kernel === undefined)
    errors.required("spec.kernel", "path of the kernel");
  if (spec.type === "Disk" && spec.path === undefined) errors.required("spec.path", "path of the disk image");
  if (spec.type === "Disk" && spec.format === undefined) errors.required("spec.format", "raw or qcow2");
}
