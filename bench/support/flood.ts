// Sends 64-byte frames of an EtherType that nobody knows out of a device for some seconds, as fast as the kernel takes
// them, and prints how many. Run in the namespace of the device:  node flood.js DEVICE SECONDS
import { addressOf, PacketSocket, withNetDevices } from "../../base/linux/index.js";

const BURST = 64;
const HEADER = 10;
const FRAME = 60;
const STRIDE = 128;

const [name = "", seconds = "1"] = process.argv.slice(2);
const device = withNetDevices((devices) => devices.read(name));
if (device === undefined) throw new Error(`there is no device ${name}`);
const socket = new PacketSocket({ name, index: device.index, slots: 32, burst: BURST });
const frames = new Uint8Array(BURST * STRIDE);
const address = addressOf(frames);
for (let i = 0; i < BURST; i++) {
  // To everybody: switches that learn need to have seen nobody.
  frames.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...device.mac, 0x88, 0xb5], i * STRIDE + HEADER);
  socket.setMessage(i, address + i * STRIDE, HEADER + FRAME);
}
const endMs = performance.now() + 1000 * Number(seconds);
let sent = 0;
while (performance.now() < endMs) {
  for (let n = 0; n < 16; n++) sent += Math.max(0, socket.send(0, BURST));
}
socket.close();
process.stdout.write(`${sent}\n`);
