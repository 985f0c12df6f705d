// A vhost-user port as it goes to another process: its socket that listens, its connection with everything that was
// agreed on it, and what the guest was told. Pure.
import { bytesOf, type HandedPort, HandedReader, handedInvalid, textOf } from "../../base/packet/index.js";
import {
  type HandedVhostUser,
  type MessageWithFds,
  VHOST_USER_HEADER_SIZE,
  VHOST_USER_PAYLOAD_SIZE_MAX,
  VHOST_USER_REGIONS_MAX,
} from "../../base/virtio/index.js";
import { MTU_MAX } from "./virtio-net-device.js";

export interface HandedVhostUserPort {
  /** −1: there is none. */
  readonly listenFd: number;
  readonly connection: HandedVhostUser | undefined;
  readonly mtu: number;
  /** A frame that the switch has yet to see as sent by the guest. */
  readonly announcement: Uint8Array | undefined;
}

const MESSAGE_SIZE_MAX = VHOST_USER_HEADER_SIZE + VHOST_USER_PAYLOAD_SIZE_MAX;
const ANNOUNCEMENT_SIZE_MAX = 128;

export function encodeHanded({ listenFd, connection, mtu, announcement }: HandedVhostUserPort): HandedPort {
  const all = connection === undefined ? [] : [connection.begun, ...connection.messages];
  return {
    state: {
      listens: listenFd >= 0,
      isConnected: connection !== undefined,
      messages: all.map(({ bytes, fds }) => [textOf(bytes), fds.length]),
      mtu,
      ...(announcement === undefined ? {} : { announcement: textOf(announcement) }),
    },
    fds: [
      ...(listenFd >= 0 ? [listenFd] : []),
      ...(connection === undefined ? [] : [connection.fd]),
      ...all.flatMap(({ fds }) => fds),
    ],
  };
}

/** Throws HANDED_PORT_INVALID. */
export function decodeHanded(handed: HandedPort): HandedVhostUserPort {
  const reader = new HandedReader(handed);
  const listenFd = reader.boolean("listens") ? reader.fd() : -1;
  const fd = reader.boolean("isConnected") ? reader.fd() : -1;
  const [begun, ...messages] = reader.array("messages").map((one) => message(one, reader));
  const mtu = reader.number("mtu", MTU_MAX);
  const announcement = reader.has("announcement")
    ? reader.bytes("announcement", ANNOUNCEMENT_SIZE_MAX)
    : undefined;
  reader.end();
  if (fd < 0) return { listenFd, connection: undefined, mtu, announcement };
  if (begun === undefined) throw handedInvalid("messages", "a list that begins with what was read");
  return { listenFd, connection: { fd, begun, messages }, mtu, announcement };
}

function message(value: unknown, reader: HandedReader): MessageWithFds {
  const [text, count] = Array.isArray(value) ? value : [];
  const bytes = bytesOf(text, "messages", MESSAGE_SIZE_MAX);
  if (!Number.isInteger(count) || count < 0 || count > VHOST_USER_REGIONS_MAX)
    throw handedInvalid("messages", "a list of messages with their descriptors");
  return { bytes, fds: Array.from({ length: count }, () => reader.fd()) };
}
