import { bits, flag } from '../codec/bits.js';

/** SEV_FEATURES of a VMSA: what the guest has switched on, and so part of what is measured. */
export const guestFeatureBits = bits(
  {
    name: 'guest features',
    width: 64,
    source: 'AMD64 Architecture Programmer’s Manual volume 2, table B-4, SEV_FEATURES',
    reserved: 'report',
  },
  {
    snpActive: flag(0, 'SNPActive', 'the guest runs under SEV-SNP'),
    vTom: flag(1, 'vTOM', 'memory below a boundary is private without page tables saying so'),
    reflectVc: flag(2, 'ReflectVC', 'intercepted instructions are reflected to a lower VMPL'),
    restrictedInjection: flag(3, 'RestrictedInjection', 'the host may inject one exception only'),
    alternateInjection: flag(4, 'AlternateInjection', 'interrupts are injected by a more privileged VMPL'),
    debugSwap: flag(5, 'DebugSwap', 'debug registers are swapped with the guest'),
    preventHostIbs: flag(6, 'PreventHostIBS', 'the host cannot sample the guest’s instructions'),
    btbIsolation: flag(7, 'BTBIsolation', 'branch predictions are kept apart from the host’s'),
    vmplSss: flag(8, 'VmplSSS', 'supervisor shadow stacks are restricted by VMPL'),
    secureTsc: flag(9, 'SecureTSC', 'the time stamp counter is out of the host’s reach'),
    vmgexitParameter: flag(10, 'VmgexitParameter', 'VMGEXIT carries a parameter'),
    ibsVirtualization: flag(12, 'IbsVirtualization', 'instruction sampling is virtualised'),
    vmsaRegProt: flag(14, 'VmsaRegProt', 'registers in the VMSA are obfuscated with a nonce'),
    smtProtection: flag(15, 'SmtProtection', 'a sibling thread must not run while the guest does'),
    secureAvic: flag(16, 'SecureAVIC', 'the interrupt controller is out of the host’s reach'),
    ibpbOnEntry: flag(21, 'IBPBOnEntry', 'branch predictions are flushed on entry to the guest'),
  },
);

/** The names of the features that are on, for people: `SNPActive, DebugSwap`. */
export function guestFeatureNames(features: bigint): string {
  const names = guestFeatureBits.toText(guestFeatureBits.parse(features));
  const unknown = features & guestFeatureBits.reservedMask;
  if (unknown === 0n) return names;
  return `${names === 'none' ? '' : `${names}, `}unknown 0x${unknown.toString(16)}`;
}

/** Number and names: `0x21 (SNPActive, DebugSwap)`. */
export function describeGuestFeatures(features: bigint): string {
  return `0x${features.toString(16)} (${guestFeatureNames(features)})`;
}
