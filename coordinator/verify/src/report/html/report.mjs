// The matrix of a report: classes that send in rows, classes that receive in columns, the worst finding in each cell.
// Colour and shape both tell the kinds apart. Text goes into the page as text alone.
const data = JSON.parse(document.getElementById('data').textContent);
const { strings, kinds, ends, findings } = data;
const [frame, canvas, filter, shown, pair, legend] =
  ['frame', 'canvas', 'filter', 'shown', 'pair', 'legend'].map((id) => document.getElementById(id));
const context = canvas.getContext('2d');

// Fill in light and in dark, and the shape that is drawn over it; in the order of `kinds`, worst first.
const looks = {
  contradiction_open: ['#c62828', '#ff6b60', 'ring'],
  contradiction_closed: ['#8e24aa', '#d48bea', 'cross'],
  inconclusive: ['#b8860b', '#e0b040', 'dot'],
  confirmed_deny: ['#5c6bc0', '#7f8de0', 'bar'],
  confirmed_partial: ['#00838f', '#3fc1cc', 'half'],
  confirmed_allow: ['#2e7d32', '#58b368', ''],
  bypass: ['#9e9e9e', '#8a8f98', ''],
  not_observed: ['#cfd8dc', '#454b55', ''],
};
const dark = matchMedia('(prefers-color-scheme: dark)');
const classes = [...new Set(ends.map((end) => end[1]))].sort((a, b) => (strings[a] < strings[b] ? -1 : 1));
const line = (finding) => strings[finding[3]];
let chosen = [0, 0];
let zoom = 1;
let offset = [0, 0];
let cells = new Map();
let rows = [];
let columns = [];

const matches = (finding, words) => {
  if (words.length === 0) return true;
  const text = [line(finding), kinds[finding[0]], strings[ends[finding[1]][1]], strings[ends[finding[2]][1]]]
    .join(' ').toLowerCase();
  return words.every((word) => text.includes(word));
};

function gather() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  cells = new Map();
  let count = 0;
  for (const finding of findings) {
    if (!matches(finding, words)) continue;
    count += 1;
    const key = `${ends[finding[1]][1]} ${ends[finding[2]][1]}`;
    const cell = cells.get(key);
    if (cell) cell.push(finding);
    else cells.set(key, [finding]);
  }
  const used = (place) => new Set([...cells.keys()].map((key) => Number(key.split(' ')[place])));
  const [from, to] = [used(0), used(1)];
  rows = classes.filter((one) => from.has(one));
  columns = classes.filter((one) => to.has(one));
  shown.textContent = `${count} of ${findings.length} flows, ${rows.length} x ${columns.length} classes`;
  chosen = [Math.min(chosen[0], Math.max(rows.length - 1, 0)), Math.min(chosen[1], Math.max(columns.length - 1, 0))];
}

const worst = (cell) => cell.reduce((most, finding) => Math.min(most, finding[0]), kinds.length);
const side = () => Math.max(2, Math.min(34, Math.floor((frame.clientWidth - 170) / Math.max(columns.length, 1))) * zoom);

function shape(kind, x, y, size) {
  context.strokeStyle = context.fillStyle = dark.matches ? '#000' : '#fff';
  context.lineWidth = Math.max(1, size / 9);
  context.beginPath();
  const [middle, quarter] = [size / 2, size / 4];
  if (kind === 'ring') context.arc(x + middle, y + middle, quarter, 0, 7);
  if (kind === 'dot') { context.arc(x + middle, y + middle, size / 8, 0, 7); context.fill(); return; }
  if (kind === 'cross') {
    context.moveTo(x + quarter, y + quarter); context.lineTo(x + size - quarter, y + size - quarter);
    context.moveTo(x + size - quarter, y + quarter); context.lineTo(x + quarter, y + size - quarter);
  }
  if (kind === 'bar') { context.moveTo(x + quarter, y + middle); context.lineTo(x + size - quarter, y + middle); }
  if (kind === 'half') { context.moveTo(x + quarter, y + size - quarter); context.lineTo(x + size - quarter, y + quarter); }
  context.stroke();
}

function paint() {
  const size = side();
  const labels = size >= 14;
  const [left, top] = labels ? [160, 24] : [4, 4];
  const height = Math.min(620, top + rows.length * size + 6);
  const ratio = devicePixelRatio || 1;
  canvas.width = frame.clientWidth * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${frame.clientWidth}px`;
  canvas.style.height = `${height}px`;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(document.documentElement);
  const front = style.getPropertyValue('--front');
  context.clearRect(0, 0, frame.clientWidth, height);
  context.font = '12px system-ui, sans-serif';
  const first = [Math.max(0, Math.floor(offset[1] / size)), Math.max(0, Math.floor(offset[0] / size))];
  for (let row = first[0]; row < rows.length && top + row * size - offset[1] < height; row += 1) {
    const y = top + row * size - offset[1];
    if (y < top - size) continue;
    for (let column = first[1]; column < columns.length; column += 1) {
      const x = left + column * size - offset[0];
      if (x > frame.clientWidth) break;
      const cell = cells.get(`${rows[row]} ${columns[column]}`);
      if (!cell) continue;
      const look = looks[kinds[worst(cell)]];
      context.fillStyle = look[dark.matches ? 1 : 0];
      context.fillRect(x, y, size - 1, size - 1);
      if (look[2] && size >= 9) shape(look[2], x, y, size - 1);
    }
    if (labels) {
      context.fillStyle = style.getPropertyValue('--back');
      context.fillRect(0, y, left, size);
      context.fillStyle = front;
      context.fillText(strings[rows[row]].slice(0, 60), 2, y + size / 2 + 4, left - 6);
    }
  }
  if (labels) {
    context.fillStyle = style.getPropertyValue('--back');
    context.fillRect(0, 0, frame.clientWidth, top);
    context.fillStyle = front;
    columns.forEach((_, column) => context.fillText(String(column + 1), left + column * size - offset[0] + 2, 15));
  }
  if (rows.length && columns.length) {
    context.strokeStyle = front;
    context.lineWidth = 2;
    context.strokeRect(left + chosen[1] * size - offset[0], top + chosen[0] * size - offset[1], size - 1, size - 1);
  }
}

const element = (name, text) => {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
};

function show() {
  pair.replaceChildren();
  const [from, to] = [rows[chosen[0]], columns[chosen[1]]];
  const cell = cells.get(`${from} ${to}`);
  if (from === undefined || to === undefined) return;
  pair.append(element('h3', `${strings[from]} -> ${chosen[1] + 1}: ${strings[to]}`));
  if (!cell) { pair.append(element('p', 'no flow of this run')); return; }
  for (const finding of cell.slice(0, 200)) {
    const block = document.createElement('details');
    block.append(element('summary', `${kinds[finding[0]]}: ${line(finding)}`));
    for (const [title, list] of [['gates', finding[4]], ['network', finding[5]]]) {
      if (!list || list.length === 0) continue;
      block.append(element('p', title));
      const items = document.createElement('ol');
      list.forEach((place) => items.append(element('li', strings[place])));
      block.append(items);
    }
    if (!finding[4]) block.append(element('p', 'the evidence is in the JSON report'));
    pair.append(block);
  }
  if (cell.length > 200) pair.append(element('p', `and ${cell.length - 200} more`));
}

function see() {
  const size = side();
  const [left, top] = size >= 14 ? [160, 24] : [4, 4];
  const room = [frame.clientWidth - left, canvas.clientHeight - top];
  [0, 1].forEach((axis) => {
    const place = chosen[1 - axis] * size;
    offset[axis] = Math.max(0, Math.min(Math.max(offset[axis], place + size - room[axis]), place));
  });
}

function move(down, right) {
  chosen = [
    Math.max(0, Math.min(rows.length - 1, chosen[0] + down)),
    Math.max(0, Math.min(columns.length - 1, chosen[1] + right)),
  ];
  see();
  paint();
}

function scale(factor) {
  zoom = Math.max(0.25, Math.min(16, zoom * factor));
  see();
  paint();
}

const keys = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0] };
frame.addEventListener('keydown', (event) => {
  if (keys[event.key]) move(...keys[event.key]);
  else if (event.key === 'Enter' || event.key === ' ') show();
  else if (event.key === '+') scale(1.5);
  else if (event.key === '-') scale(1 / 1.5);
  else return;
  event.preventDefault();
});
canvas.addEventListener('click', (event) => {
  const size = side();
  const [left, top] = size >= 14 ? [160, 24] : [4, 4];
  const at = [Math.floor((event.offsetY - top + offset[1]) / size), Math.floor((event.offsetX - left + offset[0]) / size)];
  if (at[0] < 0 || at[1] < 0 || at[0] >= rows.length || at[1] >= columns.length) return;
  chosen = at;
  paint();
  show();
});
frame.addEventListener('wheel', (event) => {
  if (event.ctrlKey) scale(event.deltaY < 0 ? 1.2 : 1 / 1.2);
  else if (zoom > 1) { offset = [Math.max(0, offset[0] + event.deltaX), Math.max(0, offset[1] + event.deltaY)]; paint(); }
  else return;
  event.preventDefault();
}, { passive: false });
filter.addEventListener('input', () => { gather(); offset = [0, 0]; paint(); show(); });
document.getElementById('closer').addEventListener('click', () => scale(1.5));
document.getElementById('further').addEventListener('click', () => scale(1 / 1.5));
dark.addEventListener('change', paint);
addEventListener('resize', paint);
addEventListener('beforeprint', paint);

legend.textContent = kinds
  .map((kind, place) => [kind, findings.filter((finding) => finding[0] === place).length])
  .filter(([, count]) => count > 0)
  .map(([kind, count]) => `${kind}${looks[kind][2] ? ` (${looks[kind][2]})` : ''}: ${count}`)
  .join(' · ');
const began = performance.now();
gather();
paint();
show();
document.documentElement.dataset.painted = String(Math.round(performance.now() - began));
document.documentElement.dataset.flows = String(findings.length);
