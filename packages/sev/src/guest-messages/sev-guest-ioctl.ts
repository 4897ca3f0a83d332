import { nested, reserved, u8, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { reportRequest } from './report-message.js';

const source = 'linux include/uapi/linux/sev-guest.h';

/** Request numbers of /dev/sev-guest: _IOWR('S', 0 to 2, 32 bytes). */
export const sevGuestIoctls = {
  SNP_GET_REPORT: 0xc020_5300,
  SNP_GET_DERIVED_KEY: 0xc020_5301,
  SNP_GET_EXT_REPORT: 0xc020_5302,
} as const;

/** struct snp_guest_request_ioctl, 32 bytes: the argument of every request. */
export const sevGuestRequest = structure(
  { name: 'snp_guest_request_ioctl', size: 32, source },
  {
    messageVersion: u8(0x00, 'version of the message; never 0', { default: 1 }),
    reserved01: reserved(0x01, 7, 'report'),
    requestAddress: u64(0x08, 'request, in memory of the caller'),
    responseAddress: u64(0x10, 'where the response goes, in memory of the caller'),
    firmwareError: u32(0x18, 'out: status of the firmware', { default: 0 }),
    vmmError: u32(0x1c, 'out: error of the host, as in SW_EXITINFO2', { default: 0 }),
  },
);

/** struct snp_ext_report_req, 112 bytes: a report and the host's certificate table. */
export const sevGuestExtendedReportRequest = structure(
  { name: 'snp_ext_report_req', size: 112, source },
  {
    report: nested(0x00, reportRequest, 'the report'),
    certificatesAddress: u64(0x60, 'where the certificate table goes; 0 for none', { default: 0n }),
    certificatesLength: u32(0x68, 'room there, whole pages; out: the needed length where it was too short', {
      default: 0,
      unit: 'bytes',
    }),
    reserved6c: reserved(0x6c, 4, 'report'),
  },
);

/** Bytes of struct snp_report_resp and of struct snp_derived_key_resp: room for the payload of the response. */
export const sevGuestResponseSizes = { report: 4000, key: 64 } as const;
/** The longest certificate table that the driver takes. */
export const sevGuestCertificatesLimit = 0x4000;
