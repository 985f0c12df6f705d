// The actions on tags, labels and TTLs, compiled. Source: OpenFlow 1.3.5, 7.2.5. Thread: any.
import type { PlainAction, PopMplsAction, PushAction, SetTtlAction } from "../../base/openflow/index.js";
import { flowError } from "./errors.js";
import * as P from "./program.js";

export type HeaderAction = PushAction | PopMplsAction | PlainAction | SetTtlAction;

export function compileHeaderAction(action: HeaderAction, code: number[]): void {
  switch (action.type) {
    case "push_vlan":
      needType(action.etherType, [0x8100, 0x88a8]);
      code.push(P.OP_PUSH_VLAN, action.etherType);
      return;
    case "push_mpls":
      needType(action.etherType, [0x8847, 0x8848]);
      code.push(P.OP_PUSH_MPLS, action.etherType);
      return;
    case "push_pbb":
      needType(action.etherType, [0x88e7]);
      code.push(P.OP_PUSH_PBB, action.etherType);
      return;
    case "pop_vlan":
      code.push(P.OP_POP_VLAN);
      return;
    case "pop_mpls":
      code.push(P.OP_POP_MPLS, action.etherType);
      return;
    case "pop_pbb":
      code.push(P.OP_POP_PBB);
      return;
    case "set_nw_ttl":
      code.push(P.OP_SET_NW_TTL, action.ttl);
      return;
    case "set_mpls_ttl":
      code.push(P.OP_SET_MPLS_TTL, action.ttl);
      return;
    case "dec_nw_ttl":
      code.push(P.OP_DEC_NW_TTL);
      return;
    case "dec_mpls_ttl":
      code.push(P.OP_DEC_MPLS_TTL);
      return;
    case "copy_ttl_out":
      code.push(P.OP_COPY_TTL_OUT);
      return;
    case "copy_ttl_in":
      code.push(P.OP_COPY_TTL_IN);
      return;
  }
}

function needType(etherType: number, allowed: readonly number[]): void {
  if (!allowed.includes(etherType))
    throw flowError("OFPBAC_BAD_ARGUMENT", `EtherType 0x${etherType.toString(16)} cannot be pushed`);
}
