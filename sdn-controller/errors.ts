// Reasons that the SDN controller gives in conditions, events and errors. Stable: people and machines match on them.
//
// reason                 meaning                                              remedy
// Allocated              addresses and MAC are assigned                       -
// Forwarding             the switch has the port's flows                      -
// NotAttached            the port is not plugged into a switch                start the machine
// NetworkNotFound        the port's or function's network does not exist      create the network
// NetworkNotReady        the network itself has no valid configuration        see the network's conditions
// InvalidSubnet          a subnet is not an IPv4 prefix of length 8 to 30     correct spec.subnets
// OverlappingSubnets     two subnets of one network overlap                   correct spec.subnets
// InvalidAddress         a requested address or MAC cannot be used            choose one inside the subnet
// AddressInUse           a requested address or MAC belongs to another        choose another
// AddressesExhausted     no address is free in the network's subnets          add a subnet or remove ports
// SegmentsExhausted      all 65535 segment numbers are taken                  remove networks
// FlowsRepaired          flows on the switch were not what it was given       find who else changes the switch's flows
// SwitchDisagrees        the switch acknowledges changes and does not make    replace or upgrade the switch
//                        them
// SwitchRefusedFlow      the switch answered a flow-mod with an error         report it: the pipeline and switch differ
export type SdnReason =
  | "Allocated"
  | "Forwarding"
  | "NotAttached"
  | "NetworkNotFound"
  | "NetworkNotReady"
  | "InvalidSubnet"
  | "OverlappingSubnets"
  | "InvalidAddress"
  | "AddressInUse"
  | "AddressesExhausted"
  | "SegmentsExhausted"
  | "FlowsRepaired"
  | "SwitchDisagrees"
  | "SwitchRefusedFlow";
