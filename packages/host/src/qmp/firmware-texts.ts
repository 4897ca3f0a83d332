import { type StatusName, statusCodes, statusName } from '@vouchsafe/sev';

/** What QEMU calls each status of the firmware (qemu target/i386/sev.c, sev_fw_errlist). */
const texts: Readonly<Partial<Record<StatusName, string>>> = {
  SUCCESS: '',
  INVALID_PLATFORM_STATE: 'Platform state is invalid',
  INVALID_GUEST_STATE: 'Guest state is invalid',
  INVALID_CONFIG: 'Platform configuration is invalid',
  INVALID_LENGTH: 'Buffer too small',
  ALREADY_OWNED: 'Platform is already owned',
  INVALID_CERTIFICATE: 'Certificate is invalid',
  POLICY_FAILURE: 'Policy is not allowed',
  INACTIVE: 'Guest is not active',
  INVALID_ADDRESS: 'Invalid address',
  BAD_SIGNATURE: 'Bad signature',
  BAD_MEASUREMENT: 'Bad measurement',
  ASID_OWNED: 'ASID is already owned',
  INVALID_ASID: 'Invalid ASID',
  WBINVD_REQUIRED: 'WBINVD is required',
  DF_FLUSH_REQUIRED: 'DF_FLUSH is required',
  INVALID_GUEST: 'Guest handle is invalid',
  INVALID_COMMAND: 'Invalid command',
  ACTIVE: 'Guest is active',
  HWERROR_PLATFORM: 'Hardware error',
  HWERROR_UNSAFE: 'Hardware unsafe',
  UNSUPPORTED: 'Feature not supported',
  INVALID_PARAM: 'Invalid parameter',
  RESOURCE_LIMIT: 'Required firmware resource depleted',
  SECURE_DATA_INVALID: 'Part-specific integrity check failure',
};

/** What the kernel returns when the firmware said no: -EIO. */
const ioError = -5;

export type FirmwareRefusal =
  | { readonly step: 'inject-secret'; readonly status: number }
  | { readonly step: 'attestation-report'; readonly status: number }
  | { readonly step: 'export'; readonly status: number }
  | { readonly step: 'chip-id'; readonly status: number }
  /** A command of the launch itself, after which QEMU ends. */
  | { readonly step: 'launch'; readonly command: string; readonly status: number };

/** The sentence in which QEMU's QMP commands report a status of the firmware. */
export function qemuFirmwareText(refusal: FirmwareRefusal): string {
  const { step, status } = refusal;
  const text = qemuStatusText(status);
  switch (step) {
    case 'inject-secret':
      return `SEV: failed to inject secret ret=${ioError} fw_error=${status} '${text}'`;
    case 'attestation-report':
      return `SEV: Failed to get attestation report ret=${ioError} fw_err=${status} (${text})`;
    case 'export':
      return `SEV: Failed to export PDH cert ret=${ioError} fw_err=${status} (${text})`;
    case 'launch':
      return `${refusal.command} ret=${ioError} fw_error=${status} '${text}'`;
    case 'chip-id':
      return `SEV: Failed to get ID ret=${ioError} fw_err=${status} (${text})`;
  }
}

export function qemuStatusText(status: number): string {
  const name = statusName(status);
  return (name && texts[name]) ?? 'unknown error';
}

/** The firmware's status in a sentence of QEMU's: `fw_error=11`, `fw_err=11`, `fw_error='11: …'`; undefined without. */
export function statusInQemuText(text: string): number | undefined {
  const found = /\bfw_err(?:or)?='?(-?\d+)/.exec(text)?.[1];
  const status = found === undefined ? undefined : Number(found);
  return status === undefined || status < 0 || status === statusCodes.SUCCESS ? undefined : status;
}
