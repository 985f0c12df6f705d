// Puts the multipart requests of one connection together that come in pieces (OFPMPF_REQ_MORE). Pieces of several
// requests may be mixed, and other messages may come between.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.5. Invariant: at most ASSEMBLIES_MAX requests of ASSEMBLY_BYTES_MAX
// bytes together are kept. Thread: main.

import {
  type MultipartRequest,
  type MultipartRequestBody,
  OFPMPF_REQ_MORE,
  type OfpErrorName,
} from "../../base/openflow/index.js";
import { ASSEMBLIES_MAX, ASSEMBLY_BYTES_MAX } from "./limits.js";

interface Assembly {
  readonly kind: MultipartRequestBody["kind"];
  readonly bodies: MultipartRequestBody[];
  bytes: number;
  /** Too much: what still comes of it is ignored. */
  isRefused: boolean;
}

export class MultipartAssembly {
  readonly #assemblies = new Map<number, Assembly>();
  #bytes = 0;

  /** The whole request, the error to answer, or undefined while more is to come, or to be ignored. */
  take(request: MultipartRequest, size: number): MultipartRequest | OfpErrorName | undefined {
    const { xid, body } = request;
    const isLast = (request.flags & OFPMPF_REQ_MORE) === 0;
    const assembly = this.#assemblies.get(xid);
    if (assembly === undefined) return isLast ? request : this.#open(request, size);
    if (isLast) this.#forget(xid, assembly);
    if (assembly.isRefused) return undefined;
    if (assembly.kind !== body.kind) {
      this.#refuse(assembly);
      return "OFPBRC_BAD_MULTIPART";
    }
    if (this.#bytes + size > ASSEMBLY_BYTES_MAX) {
      this.#refuse(assembly);
      return "OFPBRC_MULTIPART_BUFFER_OVERFLOW";
    }
    assembly.bodies.push(body);
    if (isLast) {
      const joined = join(assembly.bodies);
      return joined === undefined ? "OFPBRC_BAD_MULTIPART" : { ...request, body: joined };
    }
    assembly.bytes += size;
    this.#bytes += size;
    return undefined;
  }

  #open({ xid, body }: MultipartRequest, size: number): OfpErrorName | undefined {
    if (this.#assemblies.size >= ASSEMBLIES_MAX) this.#forgetOldest();
    const assembly = { kind: body.kind, bodies: [body], bytes: size, isRefused: false };
    this.#assemblies.set(xid, assembly);
    this.#bytes += size;
    if (this.#bytes <= ASSEMBLY_BYTES_MAX) return undefined;
    this.#refuse(assembly);
    return "OFPBRC_MULTIPART_BUFFER_OVERFLOW";
  }

  #refuse(assembly: Assembly): void {
    this.#bytes -= assembly.bytes;
    assembly.bytes = 0;
    assembly.bodies.length = 0;
    assembly.isRefused = true;
  }

  #forget(xid: number, assembly: Assembly): void {
    this.#assemblies.delete(xid);
    this.#bytes -= assembly.bytes;
    assembly.bytes = 0;
  }

  /** A request that was never finished makes room. */
  #forgetOldest(): void {
    for (const [xid, assembly] of this.#assemblies) {
      this.#forget(xid, assembly);
      return;
    }
  }
}

/** One body of all; undefined when several bodies of this kind make no sense together. */
function join(bodies: readonly MultipartRequestBody[]): MultipartRequestBody | undefined {
  const [first] = bodies;
  switch (first?.kind) {
    case undefined:
      return undefined;
    case "table_features":
      return { ...first, tables: bodies.flatMap((body) => ("tables" in body ? body.tables : [])) };
    case "flow_monitor":
      return { ...first, monitors: bodies.flatMap((body) => ("monitors" in body ? body.monitors : [])) };
    case "desc":
    case "table":
    case "group_desc":
    case "group_features":
    case "meter_features":
    case "port_desc":
      return first;
    default:
      return undefined;
  }
}
