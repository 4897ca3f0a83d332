import { launcherConformance } from '../testing/launcher-conformance.js';
import { softwareLauncher } from './software-launcher.js';

launcherConformance('software', softwareLauncher);
