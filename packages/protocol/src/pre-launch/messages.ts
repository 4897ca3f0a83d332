import { z } from 'zod';
import { bytesMember, launchIdMember, strictObject, textMember, unsignedMember } from '../members.js';
import { message } from '../message.js';

/**
 * What the guest owner and the host say to each other before a launch, in order: the host asks for a session
 * ({@link LaunchRequest}), the owner answers with what LAUNCH_START needs ({@link LaunchBundle}), the host reports what
 * LAUNCH_MEASURE gave ({@link MeasurementEvidence}), the owner answers with what LAUNCH_SECRET needs
 * ({@link SecretDelivery}). Either answer may be a {@link Refusal} instead. Everything here may be read by the host;
 * what it must not read is wrapped under keys that only the owner and the secure processor have.
 */

const certificateLength = 0x824;
const platformVersion = {
  /** As PLATFORM_STATUS reports it, so far on the host's word alone: the measurement proves it later. */
  apiMajor: unsignedMember(8),
  apiMinor: unsignedMember(8),
  buildId: unsignedMember(8),
};
const platformExport = {
  /** The processor's Diffie-Hellman certificate (PDH). */
  pdh: bytesMember([certificateLength]),
  /** PEK‖OCA‖CEK. In case A the CEK is as the chip exports it, in case B it carries AMD's signature. */
  certificateChain: bytesMember([3 * certificateLength]),
};

/**
 * Host to owner: asks for a launch session on this platform. Case A: the owner fetches the CEK, ASK and ARK from the key
 * service itself, by the chip's id. Case B: the host asked the key service and forwards what it got.
 */
export const launchRequest = message(
  'launch request',
  z.discriminatedUnion(
    'case',
    [
      strictObject({
        case: z.literal('A'),
        ...platformVersion,
        ...platformExport,
        /** The 64 bytes of GET_ID. */
        chipId: bytesMember([64]),
      }),
      strictObject({
        case: z.literal('B'),
        ...platformVersion,
        ...platformExport,
        /** ASK‖ARK as the key service serves them: keys of 2048 bits, or of 4096. */
        certificateAuthority: bytesMember([2 * 832, 2 * 1600]),
      }),
    ],
    { error: 'expected "A" or "B"' },
  ),
);
export type LaunchRequest = ReturnType<typeof launchRequest.parse>;

/** Owner to host: one launch session, for one launch. */
export const launchBundle = message(
  'launch bundle',
  strictObject({
    launchId: launchIdMember,
    /** The policy word that the session's policy MAC binds. */
    policy: unsignedMember(32),
    mode: z.enum(['sev', 'sev-es'], { error: 'expected "sev" or "sev-es"' }),
    /** The owner's Diffie-Hellman certificate. */
    godhCertificate: bytesMember([certificateLength]),
    /** Nonce, wrapped transport keys, wrap MAC and policy MAC. */
    session: bytesMember([0x80]),
    /** Numbers of vCPUs that the owner has expected launches for. */
    vcpus: z.array(unsignedMember(32)).max(1024, { error: 'expected a list of at most 1024' }),
    /** CPUID 1 EAX of the CPU models that the owner has expected launches for; SEV-ES measures it. */
    vcpuSignatures: z.array(unsignedMember(32)).max(1024, { error: 'expected a list of at most 1024' }),
    /** After this moment (ISO 8601, UTC) the owner answers no measurement of this session. */
    expires: z.iso.datetime({ error: 'expected a date and time in ISO 8601, UTC' }),
  }),
);
export type LaunchBundle = ReturnType<typeof launchBundle.parse>;

/** Host to owner: what LAUNCH_MEASURE gave, with the version and policy that the host reports of the platform. */
export const measurementEvidence = message(
  'measurement evidence',
  strictObject({
    launchId: launchIdMember,
    /** Measurement (32 bytes) ‖ the processor's nonce (16). */
    measurement: bytesMember([48]),
    ...platformVersion,
    policy: unsignedMember(32),
  }),
);
export type MeasurementEvidence = ReturnType<typeof measurementEvidence.parse>;

/** Owner to host: the secret packet, which only the secure processor of this one launch can open. */
export const secretDelivery = message(
  'secret delivery',
  strictObject({
    launchId: launchIdMember,
    header: bytesMember([0x34]),
    payload: bytesMember({ least: 16, greatest: 16384, multipleOf: 16 }),
  }),
);
export type SecretDelivery = ReturnType<typeof secretDelivery.parse>;

const checkText = textMember(4096);

/** Owner to host: no, and why. The checks are those of the Appraisal. */
export const refusal = message(
  'refusal',
  strictObject({
    reason: checkText,
    subject: textMember(256),
    root: strictObject({
      name: textMember(256),
      kind: z.enum(['amd', 'development'], { error: 'expected "amd" or "development"' }),
      fingerprint: textMember(128),
    }).exactOptional(),
    checks: z
      .array(
        strictObject({
          id: textMember(128),
          title: textMember(256),
          status: z.enum(['pass', 'fail', 'not-asked'], { error: 'expected a status' }),
          kind: z.enum(['authenticity', 'expectation'], { error: 'expected a kind' }),
          expected: checkText.exactOptional(),
          found: checkText.exactOptional(),
          hint: checkText.exactOptional(),
        }),
      )
      .max(256, { error: 'expected a list of at most 256' }),
  }),
);
export type Refusal = ReturnType<typeof refusal.parse>;
