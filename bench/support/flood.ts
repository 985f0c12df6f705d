// Sends 60-byte frames (64 with their checksum on a wire) out of a device for some seconds, as fast as the kernel takes
// them, and prints how many. The kernel cuts them out of large datagrams just before the device, which costs far less
// than a call for each, so that this is not what limits a comparison: the device must not cut by itself (`ethtool -K DEV
// tx-udp-segmentation off`). Run in the namespace of the device:  node flood.js DEVICE SECONDS
import { addressOf, PacketSocket, withNetDevices } from "../../base/linux/index.js";
import { udpFrame } from "../../vswitch/testing/frames.js";

const BURST = 16;
const SEGMENTS = 64;
const PAYLOAD = 18;
const HEADER = 10;
const STRIDE = 2048;
const L4_AT = 34;
const UDP_CHECKSUM_AT = 6;
/** Of a virtio-net header: the checksum is to be completed, and the datagram to be cut (virtio 1.3, 5.1.6). */
const NEEDS_CSUM = 1;
const GSO_UDP_L4 = 5;

const [name = "", seconds = "1"] = process.argv.slice(2);
const device = withNetDevices((devices) => devices.read(name));
if (device === undefined) throw new Error(`there is no device ${name}`);
const socket = new PacketSocket({ name, index: device.index, slots: 32, burst: BURST });
const ends = { source: "10.9.0.1", destination: "10.9.0.99", destinationPort: 9 };
const datagram = udpFrame(ends, new Uint8Array(SEGMENTS * PAYLOAD));
// To everybody: switches that learn need to have seen nobody.
datagram.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...device.mac], 0);
const frames = new Uint8Array(BURST * STRIDE);
const view = new DataView(frames.buffer);
const address = addressOf(frames);
for (let i = 0; i < BURST; i++) {
  const at = i * STRIDE;
  frames[at] = NEEDS_CSUM;
  frames[at + 1] = GSO_UDP_L4;
  for (const [j, word] of [L4_AT + 8, PAYLOAD, L4_AT, UDP_CHECKSUM_AT].entries())
    view.setUint16(at + 2 + 2 * j, word, true);
  frames.set(datagram, at + HEADER);
  socket.setMessage(i, address + at, HEADER + datagram.byteLength);
}
const endMs = performance.now() + 1000 * Number(seconds);
let sent = 0;
while (performance.now() < endMs) {
  for (let n = 0; n < 4; n++) sent += SEGMENTS * Math.max(0, socket.send(0, BURST));
}
socket.close();
process.stdout.write(`${sent}\n`);
