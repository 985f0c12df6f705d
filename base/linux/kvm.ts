// Does KVM run a guest here? /dev/kvm may open, make machines and still fail on the first instructions of a BIOS
// (nested virtualisation that must emulate real mode), so the probe runs some of them.
// Source: linux/kvm.h, Documentation/virt/kvm/api.rst. x86-64; elsewhere a processor that can be made is enough.
// Thread: any.
import { check } from "./errno.js";
import { addressOf } from "./ffi.js";
import { closeFile, O_RDWR, openFile } from "./file.js";
import { cIoctl } from "./ioctl.js";
import { FileMapping, MemoryBlock } from "./memory.js";

const KVM_GET_API_VERSION = 0xae00;
const KVM_CREATE_VM = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE = 0xae04;
const KVM_CREATE_VCPU = 0xae41;
const KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
const KVM_RUN = 0xae80;
const KVM_SET_REGS = 0x4090ae82;
const KVM_GET_SREGS = 0x8138ae83;
const KVM_SET_SREGS = 0x4138ae84;
const REGS_SIZE = 144;
const SREGS_SIZE = 312;
const KVM_EXIT_HLT = 5;
const KVM_API_VERSION = 12;

const MEMORY_SIZE = 0x4000;
const CODE_AT = 0x1000;
const STACK_AT = 0x3000;
const HLT = 0xf4;
/** What a BIOS does all day: pushf; push cs; push 0x1006; iret; hlt. */
const CODE = [0x9c, 0x0e, 0x68, 0x06, 0x10, 0xcf, HLT];

/** undefined when KVM works; otherwise why it does not. Throws what the system calls say. */
export function probeKvm(): string | undefined {
  const fd = openFile("/dev/kvm", O_RDWR);
  try {
    const version = check(cIoctl(fd, KVM_GET_API_VERSION, 0), "ioctl(KVM_GET_API_VERSION)");
    if (version !== KVM_API_VERSION) return `KVM speaks version ${version}, not ${KVM_API_VERSION}`;
    const vm = check(cIoctl(fd, KVM_CREATE_VM, 0), "ioctl(KVM_CREATE_VM)");
    try {
      return probeMachine(fd, vm);
    } finally {
      closeFile(vm);
    }
  } finally {
    closeFile(fd);
  }
}

function probeMachine(kvm: number, vm: number): string | undefined {
  const memory = new MemoryBlock(MEMORY_SIZE);
  const cpu = check(cIoctl(vm, KVM_CREATE_VCPU, 0), "ioctl(KVM_CREATE_VCPU)");
  const size = check(cIoctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "ioctl(KVM_GET_VCPU_MMAP_SIZE)");
  const shared = new FileMapping(cpu, size);
  try {
    if (process.arch !== "x64") return undefined;
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(HLT);
    bytes.set(CODE, CODE_AT);
    const region = BigUint64Array.of(0n, 0n, BigInt(MEMORY_SIZE), BigInt(memory.address));
    check(cIoctl(vm, KVM_SET_USER_MEMORY_REGION, addressOf(region)), "ioctl(KVM_SET_USER_MEMORY_REGION)");
    startInRealMode(cpu);
    check(cIoctl(cpu, KVM_RUN, 0), "ioctl(KVM_RUN)");
    const reason = new DataView(shared.buffer).getUint32(8, true);
    return reason === KVM_EXIT_HLT ? undefined : `KVM cannot run real-mode code here (exit reason ${reason})`;
  } finally {
    shared.unmap();
    closeFile(cpu);
    memory.free();
  }
}

/** Code segment at 0, the first instruction of CODE next. */
function startInRealMode(cpu: number): void {
  const segments = new Uint8Array(SREGS_SIZE);
  check(cIoctl(cpu, KVM_GET_SREGS, addressOf(segments)), "ioctl(KVM_GET_SREGS)");
  const view = new DataView(segments.buffer);
  view.setBigUint64(0, 0n, true);
  view.setUint16(12, 0, true);
  check(cIoctl(cpu, KVM_SET_SREGS, addressOf(segments)), "ioctl(KVM_SET_SREGS)");
  const registers = new BigUint64Array(REGS_SIZE / 8);
  registers[6] = BigInt(STACK_AT);
  registers[16] = BigInt(CODE_AT);
  registers[17] = 2n;
  check(cIoctl(cpu, KVM_SET_REGS, addressOf(registers)), "ioctl(KVM_SET_REGS)");
}
