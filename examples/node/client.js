// Stores photos in an encrypted collection, finds what is most like the first, and fetches the best match again:
//
//     BLINDSIGHT_TOKEN_FILE=FILE node client.js HOST:PORT COLLECTION PHOTO...
'use strict'
const crypto = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const grpc = require('@grpc/grpc-js')
const { loadSync } = require('@grpc/proto-loader')

const options = { includeDirs: [path.join(__dirname, '../../protos')], keepCase: true, enums: String, longs: Number }
const contract = grpc.loadPackageDefinition(loadSync('blindsight/keyholder/v1/keyholder.proto', options))
const { KeyholderService } = contract.blindsight.keyholder.v1

async function main ([address, collection, ...photos]) {
  const keyholder = new KeyholderService(address, grpc.credentials.createInsecure())
  const call = (rpc, request) => new Promise((resolve, reject) => {
    keyholder[rpc](request, shown, (error, answer) => error ? reject(error) : resolve(answer))
  })
  const shown = new grpc.Metadata() // with every call
  shown.set('authorization', `Bearer ${fs.readFileSync(process.env.BLINDSIGHT_TOKEN_FILE, 'ascii').trim()}`)
  const known = error => { if (error.code !== grpc.status.ALREADY_EXISTS) throw error }
  await call('CreateCollection', { name: collection, scheme: 'SCHEME_CKKS', embedder: 'pixels' }).catch(known)

  for (const photo of photos) {
    const image = fs.readFileSync(photo) // of less than 4 MiB; larger ones go by the stream Ingest
    const { id, outcome } = await call('IngestImage', { settings: { collection }, name: path.basename(photo), image })
    console.log(`${photo}: ${outcome} as ${id}`)
  }

  const { hits } = await call('SearchImage', { settings: { collection, k: 3 }, image: fs.readFileSync(photos[0]) })
  for (const hit of hits) console.log(`${hit.score.toFixed(4)} ${hit.name}`)

  const digest = crypto.createHash('sha256')
  let header
  for await (const part of keyholder.GetOriginal({ collection, id: hits[0].id }, shown)) {
    if (part.header) header = part.header
    else digest.update(part.chunk)
  }
  if (!digest.digest().equals(header.sha256)) throw new Error('the original is not what was stored')
  console.log(`original of ${header.name}: ${header.size_bytes} bytes, ${header.media_type}`)
  keyholder.close()
}

main(process.argv.slice(2)).catch(error => {
  console.error(error.details ?? error.message)
  process.exit(1)
})
