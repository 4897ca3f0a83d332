import { launcherConformance } from '../testing/launcher-conformance.js';
import { snpLauncherConformance } from '../testing/snp-launcher-conformance.js';
import { softwareLauncher } from './software-launcher.js';

launcherConformance('software', softwareLauncher);
snpLauncherConformance('software', softwareLauncher);
