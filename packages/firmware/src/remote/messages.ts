import { z } from 'zod';

/** The JSON between the machine's process and those of host and guest. Memory travels as plain octets instead. */

const address = z.int().nonnegative();
const word = z.codec(z.string().regex(/^0x[0-9a-f]{1,16}$/), z.bigint(), {
  decode: (text) => BigInt(text),
  encode: (value) => `0x${value.toString(16)}`,
});

export const machineDescription = z.strictObject({
  memorySize: address,
  capabilities: z.strictObject({
    cBitPosition: z.int(),
    reducedPhysBits: z.int(),
    maximumAsid: z.int(),
    minimumSevAsid: z.int(),
  }),
});

export const mailboxCall = z.strictObject({ commandId: z.int().min(0).max(0xffff), bufferAddress: address });
export const mailboxReply = z.strictObject({ status: z.int() });

export const memoryPlace = z.strictObject({ address: z.coerce.number().pipe(address) });
export const memoryRange = memoryPlace.extend({ length: z.coerce.number().pipe(address) });
export const encryption = z.strictObject({ encrypted: z.enum(['yes', 'no']) });

const pageSize = z.enum(['4K', '2M']);
/** The table itself says what is no page, no ASID and no guest address: it answers FAIL_INPUT. */
const number = z.number();

export const rmpEntry = z.strictObject({
  assigned: z.boolean(),
  size: pageSize,
  immutable: z.boolean(),
  guestAddress: number,
  asid: number,
});
export const rmpUpdateCall = z.strictObject({ address: number, request: rmpEntry });
export const rmpCall = z.strictObject({ address: number });
export const rmpReply = z.strictObject({ status: z.int() });

const saveArea = z.strictObject({ rip: address, rax: word });

export const control = z.strictObject({
  asid: z.int().nonnegative(),
  nestedPages: z
    .array(z.strictObject({ guestAddress: address, systemAddress: address, length: address }).readonly())
    .readonly(),
  vmsaAddress: z.exactOptional(address),
  saveArea: z.exactOptional(saveArea),
  ghcbMsr: z.exactOptional(word),
});

const violation = z.strictObject({
  write: z.boolean(),
  encrypted: z.boolean(),
  sizeMismatch: z.boolean(),
  vmpl: z.boolean(),
});

export const vmExit = z.discriminatedUnion('reason', [
  z.strictObject({ reason: z.literal('vmgexit'), ghcbGuestAddress: address }),
  z.strictObject({ reason: z.literal('msr-protocol'), request: word }),
  z.strictObject({ reason: z.literal('ioio'), saveArea, port: z.int(), value: z.int() }),
  z.strictObject({ reason: z.literal('hlt'), saveArea: z.exactOptional(saveArea) }),
  z.strictObject({ reason: z.literal('shutdown') }),
  z.strictObject({
    reason: z.literal('npf'),
    guestAddress: address,
    violation: z.exactOptional(violation),
  }),
  z.strictObject({ reason: z.literal('invalid'), detail: z.string() }),
]);

const registers = z.strictObject({ rip: address, rsp: word, rax: word, rbx: word, rcx: word, rdx: word });

/**
 * A vCPU that was entered for the first time, for the guest's process to run: a boot vCPU, or, with a placement, the one
 * that this process placed a program for.
 */
export const startedVcpu = z.strictObject({
  vcpu: z.int(),
  encryptedState: z.boolean(),
  snp: z.boolean(),
  vmpl: z.int().min(0).max(3),
  registers,
  placement: z.exactOptional(z.int()),
});
export const attachment = z.strictObject({ attachment: z.int() });

/** How the guest's program leaves; `returned` and `failed` are its end. */
export const guestLeaves = z.strictObject({
  registers,
  exit: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('vmgexit'), ghcbGuestAddress: address }),
    z.strictObject({ kind: z.literal('msr-protocol'), request: word }),
    z.strictObject({
      kind: z.literal('out'),
      port: z.int().min(0).max(0xffff),
      value: z.int().min(0).max(0xffff_ffff),
    }),
    z.strictObject({ kind: z.enum(['halt', 'shutdown', 'returned', 'failed']) }),
  ]),
});
/** With the answer to a request in the GHCB MSR. */
export const guestReturns = z.strictObject({ registers, ghcbMsr: z.exactOptional(word) });

export const pvalidateCall = z.strictObject({ address: number, size: pageSize, validate: z.boolean() });
export const pvalidateReply = z.strictObject({ status: z.int(), changed: z.boolean() });
export const rmpadjustCall = z.strictObject({
  address: number,
  targetVmpl: number,
  permissions: number,
  vmsa: z.boolean(),
  size: z.exactOptional(pageSize),
});
/** `placement` is the guest process's own name for the program. */
export const placeCall = z.strictObject({ address: number, placement: z.int() });

export const failure = z.strictObject({
  code: z.string(),
  message: z.string(),
  detail: z.exactOptional(z.string()),
  /** Of a page that the machine refused. */
  address: z.exactOptional(address),
});

export const nothing = z.strictObject({});
