// The matrix of a report: classes that send in rows, classes that receive in columns, the worst finding in each cell.
// Colour and shape both tell the kinds apart. Text goes into the page as text alone.
const began = performance.now();
const data = JSON.parse(document.getElementById('data').textContent);
// A finding is its place in the lists of `flows`: columns are read faster than as many objects.
const { strings, kinds, ends, flows } = data;
const total = flows.kind.length;
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
const line = (place) => strings[flows.line[place]];
let chosen = [0, 0];
let zoom = 1;
let offset = [0, 0];
// The first finding of each cell, and behind each finding the next of its cell: as many objects as findings would take longer
// to make than to paint.
const FLAT_MAX = 2000;
const flat = classes.length <= FLAT_MAX;
// Places count from 1 here: 0 is a cell without a flow.
const noCells = () => (flat ? new Int32Array(classes.length ** 2) : new Map());
let cells = noCells();
const following = new Int32Array(total);
const number = new Map(classes.map((one, place) => [one, place]));
const classOf = ends.map((end) => number.get(end[1]));
let rows = [];
let columns = [];

const matches = (place, words) => {
  if (words.length === 0) return true;
  const [from, to] = [ends[flows.source[place]], ends[flows.destination[place]]];
  const text = [line(place), kinds[flows.kind[place]], strings[from[1]], strings[to[1]]].join(' ').toLowerCase();
  return words.every((word) => text.includes(word));
};

function gather() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  cells = noCells();
  let count = 0;
  const [from, to] = [new Uint8Array(classes.length), new Uint8Array(classes.length)];
  for (let place = total - 1; place >= 0; place -= 1) {
    if (words.length > 0 && !matches(place, words)) continue;
    count += 1;
    const row = classOf[flows.source[place]];
    const column = classOf[flows.destination[place]];
    from[row] = to[column] = 1;
    following[place] = first(row, column);
    const key = row * classes.length + column;
    if (flat) cells[key] = place + 1;
    else cells.set(key, place + 1);
  }
  const all = [...classes.keys()];
  rows = all.filter((one) => from[one]);
  columns = all.filter((one) => to[one]);
  shown.textContent = `${count} of ${total} flows, ${rows.length} x ${columns.length} classes`;
  chosen = [Math.min(chosen[0], Math.max(rows.length - 1, 0)), Math.min(chosen[1], Math.max(columns.length - 1, 0))];
}

function first(row, column) {
  const key = row * classes.length + column;
  return (flat ? cells[key] : cells.get(key) ?? 0) - 1;
}
function worst(place) {
  let most = kinds.length;
  for (let at = place; at >= 0; at = following[at]) most = Math.min(most, flows.kind[at]);
  return most;
}
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

// Smaller cells have no shape, and there are many of them: they are pixels, without a call for each.
const SHAPES_MIN = 9;
function dots(begin, end, size, [left, top]) {
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  // As the canvas has them: red first.
  const fills = kinds.map((kind) => {
    const colour = parseInt(looks[kind][dark.matches ? 1 : 0].slice(1), 16);
    return new Uint32Array(new Uint8Array([colour >> 16, colour >> 8, colour, 255]).buffer)[0];
  });
  const gap = size >= 4 ? 1 : 0;
  for (let row = begin[0]; row < end[0]; row += 1) {
    const [from, to] = [Math.round(top + row * size), Math.round(top + (row + 1) * size) - gap];
    for (let column = begin[1]; column < end[1]; column += 1) {
      const cell = first(rows[row], columns[column]);
      if (cell < 0) continue;
      const fill = fills[worst(cell)];
      const near = Math.max(0, Math.round(left + column * size));
      const far = Math.min(canvas.width, Math.round(left + (column + 1) * size) - gap);
      for (let y = Math.max(0, from); y < Math.min(canvas.height, to); y += 1) {
        const line = y * canvas.width;
        for (let x = near; x < far; x += 1) pixels[line + x] = fill;
      }
    }
  }
  context.putImageData(image, 0, 0);
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
  const begin = [Math.max(0, Math.floor(offset[1] / size)), Math.max(0, Math.floor(offset[0] / size))];
  const end = [
    Math.min(rows.length, Math.ceil((height - top + offset[1]) / size)),
    Math.min(columns.length, Math.ceil((frame.clientWidth - left + offset[0]) / size)),
  ];
  if (size < SHAPES_MIN) dots(begin, end, size * ratio, [left - offset[0], top - offset[1]].map((one) => one * ratio));
  for (let row = begin[0]; size >= SHAPES_MIN && row < end[0]; row += 1) {
    for (let column = begin[1]; column < end[1]; column += 1) {
      const cell = first(rows[row], columns[column]);
      if (cell < 0) continue;
      const look = looks[kinds[worst(cell)]];
      const [x, y] = [left + column * size - offset[0], top + row * size - offset[1]];
      context.fillStyle = look[dark.matches ? 1 : 0];
      context.fillRect(x, y, size - 1, size - 1);
      if (look[2]) shape(look[2], x, y, size - 1);
    }
  }
  for (let row = begin[0]; labels && row < end[0]; row += 1) {
    const y = top + row * size - offset[1];
    context.fillStyle = style.getPropertyValue('--back');
    context.fillRect(0, y, left, size);
    context.fillStyle = front;
    context.fillText(strings[classes[rows[row]]].slice(0, 60), 2, y + size / 2 + 4, left - 6);
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
  if (from === undefined || to === undefined) return;
  const cell = [];
  for (let at = first(from, to); at >= 0; at = following[at]) cell.push(at);
  pair.append(element('h3', `${strings[classes[from]]} -> ${chosen[1] + 1}: ${strings[classes[to]]}`));
  if (cell.length === 0) { pair.append(element('p', 'no flow of this run')); return; }
  for (const place of cell.slice(0, 200)) {
    const block = document.createElement('details');
    block.append(element('summary', `${kinds[flows.kind[place]]}: ${line(place)}`));
    for (const [title, list] of [['gates', flows.gates[place]], ['network', flows.attempts[place]]]) {
      if (!list || list.length === 0) continue;
      block.append(element('p', title));
      const items = document.createElement('ol');
      list.forEach((one) => items.append(element('li', strings[one])));
      block.append(items);
    }
    if (!flows.gates[place]) block.append(element('p', 'the evidence is in the JSON report'));
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

const counts = kinds.map(() => 0);
for (const kind of flows.kind) counts[kind] += 1;
legend.textContent = kinds
  .map((kind, place) => [kind, counts[place]])
  .filter(([, count]) => count > 0)
  .map(([kind, count]) => `${kind}${looks[kind][2] ? ` (${looks[kind][2]})` : ''}: ${count}`)
  .join(' · ');
gather();
// What needs attention first is shown first.
if (total > 0) chosen = [rows.indexOf(classOf[flows.source[0]]), columns.indexOf(classOf[flows.destination[0]])];
see();
paint();
show();
document.documentElement.dataset.painted = String(Math.round(performance.now() - began));
document.documentElement.dataset.flows = String(total);
