import { render } from 'preact';

import { App } from './app/shell';
import { followSession } from './live/store';
import './ui/style.css';

const app = document.getElementById('app');
if (app === null) throw new Error('index.html has no #app');
followSession();
render(<App />, app);
