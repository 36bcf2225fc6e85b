"""The words of titles and synopses: genres, their themes, and what each theme is told with.

A line a theme: `name: leads / places / plots / nouns of titles`, parts apart by semicolons.
"""

# A theme is one line, however long.
# ruff: noqa: E501

from dataclasses import dataclass

_TEXT: dict[str, str] = {
    "Action": """
spies: a disavowed secret agent; a double agent / an embassy in Vienna; a listening post in Berlin / steals the codes of an enemy network; unmasks a mole in the intelligence service; is hunted by assassins / Cipher; Defector; Dossier; Handler
martial arts: a young kung fu student; an ageing karate master / a mountain dojo; an underground fighting ring / trains for a deadly tournament; avenges a murdered teacher; fights a rival school / Fist; Dragon; Dojo; Blade
car chases: a getaway driver; a street racer / the freeways of Los Angeles; a desert rally / outruns the highway police; races for pink slips; smuggles a supercar over the border / Throttle; Redline; Asphalt; Ignition
special forces: a navy commando; a sniper of an elite squad / a jungle behind enemy lines; a besieged hilltop base / rescues hostages from militants; holds the line under heavy fire; disarms a stolen warhead / Platoon; Strike; Extraction; Ambush
superheroes: a masked vigilante; a teenager with superpowers / a skyscraper city; a ruined laboratory / saves the city from a mutant villain; learns to fly; loses powers on the day they are needed / Cape; Titan; Vigilante; Guardian
""",
    "Adventure": """
treasure hunts: a reckless archaeologist; a map collector / a lost temple; a sunken galleon / follows an ancient map to buried gold; escapes a tomb of traps; deciphers a golden idol / Relic; Idol; Treasure; Tomb
sea voyages: a pirate captain; a ship's boy / a storm-lashed schooner; the islands of the Caribbean / rounds the cape in a hurricane; leads a mutiny; hunts a white whale / Tide; Sail; Corsair; Compass
survival: a stranded pilot; a lost hiker / the Alaskan wilderness; a desert island / survives a winter without food; builds a raft to reach rescue; is stalked by wolves / Frostbite; Castaway; Wilderness; Ridge
mountaineering: a veteran climber; a Sherpa guide / the north face of a Himalayan peak; a glacier camp / attempts the summit without oxygen; is caught in an avalanche; brings down a fallen partner / Summit; Rope; Crevasse; Avalanche
westerns: a lone gunslinger; a frontier sheriff / a dusty cattle town; a gold rush camp / faces outlaws in a shootout at noon; drives cattle across the prairie; guards a stagecoach / Saddle; Sheriff; Prairie; Canyon
""",
    "Comedy": """
office life: an overworked intern; a clueless manager / a paper company; an open-plan office / survives a pointless team-building retreat; fakes a spreadsheet; fights over the coffee machine / Cubicle; Memo; Meeting; Overtime
wedding chaos: a nervous bride; a jealous best man / a vineyard wedding; a hotel overbooked with guests / loses the wedding rings; crashes the reception; ruins the wedding speech / Bouquet; Bridesmaid; Toast; Vows
road trips: a college dropout; a bickering family / a broken camper van; roadside motels / drives across the country with the wrong suitcase; picks up a strange hitchhiker; runs out of gas and money / Detour; Mileage; Motel; Shotgun
stand-up: a touring comedian; an open-mic beginner / a basement comedy club; a theatre in Chicago / jokes about parenthood and airports; heckles the hecklers; bombs on live television / Punchline; Heckler; Microphone; Encore
flatmates: a broke roommate; a messy student / a tiny city apartment; a shared kitchen / dodges the landlord; throws a disastrous house party; argues about the dishes / Sofa; Lease; Kitchen; Neighbours
""",
    "Crime": """
heist: a retired safecracker; a crew of bank robbers / a casino vault; a diamond exchange in Antwerp / plans one last job; cracks an unbreakable safe; double-crosses the crew / Vault; Score; Getaway; Diamond
courtroom: a public defender; a stubborn juror / a county courthouse; a packed courtroom / cross-examines a hostile witness; defends an innocent client; uncovers tampered evidence before the verdict / Verdict; Objection; Jury; Witness
detectives: a burned-out detective; a rookie homicide inspector / a rainy harbour town; a police precinct / reopens a cold murder case; follows clues to a killer; interrogates the prime suspect / Clue; Alibi; Inspector; Motive
mafia: a mob boss's heir; an informer inside the family / a Sicilian village; a Brooklyn social club / seizes control of the crime family; breaks the code of silence; starts a gang war / Godson; Omerta; Family; Vendetta
drug cartels: an undercover narcotics agent; a border smuggler / a cartel compound; a coastal port / infiltrates the cocaine trade; launders money for a kingpin; betrays the cartel / Kingpin; Powder; Border; Smuggler
""",
    "Documentary": """
wildlife: a pride of lions; a family of penguins / the Serengeti plains; the Antarctic ice / migrates with the seasons; protects its cubs from predators; is filmed by hidden cameras / Savanna; Migration; Predator; Nest
true crime: a team of investigative journalists; the mother of a missing girl / a small town with a secret; a cold case archive / re-examines a wrongful conviction; plays unheard police tapes; traces a serial killer / Confession; Disappearance; Tapes; Evidence
science explained: a particle physicist; a brain surgeon / a laboratory under the Alps; a telescope in Chile / explains how black holes bend time; maps the human genome; tests the theory of evolution / Atoms; Universe; Genome; Experiment
food and travel: a street-food chef; a wandering baker / the night markets of Bangkok; a Tuscan kitchen / tastes regional recipes; learns to cook with local spices; searches for the perfect bread / Feast; Spice; Recipe; Table
climate: a marine biologist; a glaciologist / a dying coral reef; a melting ice sheet / measures rising seas; campaigns against plastic pollution; records the last rainforest / Carbon; Reef; Glacier; Drought
""",
    "Drama": """
family secrets: an estranged sister; a dying patriarch / an old country house; a lakeside cottage / discovers a hidden letter; fights over an inheritance; reveals a long-buried affair / Inheritance; Letter; House; Silence
hospital: a trauma surgeon; a night-shift nurse / an emergency ward; a rural clinic / operates against the clock; makes a fatal diagnosis; loses a patient and faith / Pulse; Ward; Scalpel; Diagnosis
politics: an ambitious senator; a campaign manager / the corridors of parliament; a presidential palace / wins an election by blackmail; leaks a scandal to the press; schemes for the prime minister's seat / Ballot; Cabinet; Senate; Lobby
coming of age: a shy schoolgirl; a boy from the suburbs / a high school by the sea; a summer camp / leaves home for the first time; falls out with childhood friends; stands up to bullies / Seventeen; Diary; Adolescence; Graduation
family farm: a widowed farmer; a daughter back from the city / a dairy farm; drought-stricken wheat fields / struggles to save the harvest; sells the herd to pay the bank; raises a foal through winter / Harvest; Barn; Orchard; Pasture
""",
    "Family": """
talking animals: a clever fox cub; a singing hedgehog / an enchanted forest; a noisy barnyard / befriends a lost duckling; outwits a grumpy badger; finds the way home / Paws; Hedgehog; Whiskers; Puddle
toys and make-believe: a brave wooden toy; a stuffed rabbit / a child's playroom; a toy shop at night / comes alive after bedtime; rescues a broken doll; builds a castle of blocks / Toybox; Button; Marbles; Puppet
school magic for kids: a pupil with a wobbly wand; a kitten who casts spells / a tiny school for wizards; a treehouse classroom / turns the teacher into a frog; brews a giggling potion; learns to ride a broom / Wand; Potion; Cauldron; Broomstick
learning songs: a counting crocodile; a choir of letters / a rainbow playground; a sunny kindergarten / sings the alphabet; counts to ten with friends; learns colours and shapes / Alphabet; Rainbow; Counting; Lullaby
pets: a scruffy puppy; a rescued pony / an animal shelter; a riding stable / wins the trust of a lonely child; runs away before the dog show; saves the family from a flood / Puppy; Pony; Collar; Kennel
""",
    "Fantasy": """
dragons and kingdoms: an exiled prince; a dragon rider / a burning citadel; a throne room of iron / claims the stolen throne; hatches the last dragon egg; unites the warring kingdoms / Throne; Dragon; Crown; Ember
fairies and folklore: a changeling girl; a river spirit / a moonlit forest; a village at the edge of the fairy realm / bargains with the fairy queen; breaks a hundred-year curse; dances in a ring of mushrooms / Thorn; Changeling; Moonlight; Curse
wizards: an apprentice sorcerer; a disgraced archmage / a tower of forbidden books; an academy of magic / masters a forbidden spell; duels a dark sorcerer; seals a demon gate / Sorcerer; Grimoire; Spell; Tower
vampires: an immortal vampire; a vampire hunter / a castle in Transylvania; a nocturnal city / thirsts for mortal blood; falls under a vampire's charm; breaks a pact of blood / Blood; Immortal; Coffin; Dusk
mythology: a demigod; a daughter of Zeus / Mount Olympus; the labyrinth of Crete / steals fire from the gods; slays the Minotaur; journeys through the underworld / Olympus; Labyrinth; Oracle; Titan
""",
    "History": """
world war: a resistance courier; a bomber crew / occupied Paris; the beaches of Normandy / sabotages a railway; hides refugees from soldiers; breaks the Enigma code / Front; Trench; Liberation; Courier
royal courts: a young queen; a scheming duke / the palace of Versailles; a Tudor court / marries for an alliance; survives a plot of poison; loses the king's favour / Queen; Palace; Regent; Coronation
ancient empires: a Roman legionary; a pharaoh's architect / the arena of Rome; the banks of the Nile / fights as a gladiator; builds a pyramid; marches with the legions / Legion; Pharaoh; Empire; Gladiator
samurai and dynasties: a masterless samurai; a court scholar / feudal Kyoto; the Forbidden City / serves a dishonoured shogun; defends a village from bandits; uncovers a plot against the emperor / Ronin; Dynasty; Katana; Shogun
independence struggles: a revolutionary printer; a barefoot lawyer / a colonial port; a salt march / leads a peaceful uprising; escapes a colonial prison; writes a forbidden newspaper / Freedom; Uprising; Republic; Partition
""",
    "Horror": """
haunted houses: a grieving couple; a sceptical medium / a Victorian mansion; a boarded-up orphanage / hears footsteps in the attic; is tormented by a poltergeist; opens a sealed cellar / Attic; Seance; Manor; Whisper
slashers: a final girl; a reckless teenager / a summer camp by the lake; an abandoned fairground / is stalked by a masked killer; finds friends butchered one by one; runs from a chainsaw / Scream; Mask; Butcher; Midnight
zombies: a band of survivors; an infected soldier / a quarantined city; a shopping mall under siege / flees the walking dead; searches for a cure to the plague; barricades the doors against the undead / Outbreak; Infected; Quarantine; Horde
demonic possession: a doubting priest; a possessed child / a remote convent; a candlelit chapel / performs an exorcism; speaks in dead tongues; summons a demon / Exorcist; Devil; Ritual; Sacrament
monsters: a deep-sea diver; a village hunter / a black lagoon; a fog-bound island / awakens a giant creature; is dragged beneath the water; tracks a beast that eats livestock / Creature; Fang; Lagoon; Beast
""",
    "Music": """
classical: a prodigy violinist; an exacting conductor / the opera house of Milan; a conservatory / rehearses a lost symphony; plays a Mozart concerto; auditions for the orchestra / Sonata; Symphony; Overture; Maestro
rock bands: a garage rock band; a fading guitarist / a tour bus; a smoky recording studio / records a comeback album; breaks up on stage; chases a number one hit / Amplifier; Riff; Feedback; Vinyl
hip hop: a battle rapper; a beat producer / a Bronx block party; a bedroom studio / drops a mixtape; wins a freestyle battle; signs with a shady label / Cypher; Mixtape; Flow; Bassline
dance: a street dancer; a ballerina / a ballet academy; a flamenco bar in Seville / competes for the lead role; learns to tango; recovers from an injury to dance again / Rhythm; Pirouette; Tango; Stage
jazz and soul: a blues singer; a trumpet player / a Harlem jazz club; New Orleans / improvises until dawn; sings gospel and soul; sells the saxophone to pay rent / Blue; Trumpet; Swing; Soul
""",
    "Romance": """
second chances: a divorced baker; a former high-school sweetheart / a small coastal town; a bookshop café / falls in love again; meets the one who got away; writes an unsent love letter / Again; Letters; Sunday; Promise
holiday love: a big-city lawyer; a widowed innkeeper / a snowy Christmas village; a ski lodge / finds love at Christmas; saves the inn by New Year; kisses under the mistletoe / Christmas; Snowfall; Mistletoe; Fireside
forbidden love: a nobleman's daughter; a lover from a rival family / Regency London; a walled garden / elopes at midnight; defies an arranged marriage; hides a secret engagement / Scandal; Ballroom; Elopement; Desire
summer flings: a backpacker; a surf instructor / a Greek island; a beach in Brazil / shares one summer of love; misses the last ferry; promises to meet again in a year / Summer; Island; Sunset; Ferry
dating in the city: a hopeless dater; a rival matchmaker / rooftop bars of Manhattan; a dating app start-up / swipes right by accident; goes on fifty first dates; fakes a relationship / Swipe; Match; Blind Date; Crush
""",
    "Science Fiction": """
space exploration: an astronaut; the crew of a starship / the rings of Saturn; a colony on Mars / explores an uncharted planet; repairs a failing spacecraft; receives a signal from deep space / Orbit; Horizon; Starship; Nebula
artificial intelligence: a robotics engineer; a self-aware android / a server farm; a neon megacity / teaches a machine to feel; hunts a rogue artificial intelligence; uploads a mind / Android; Circuit; Neural; Algorithm
time travel: a stranded physicist; a courier from the future / a time machine; a looping Tuesday / changes the past to save the present; meets a younger self; repairs a paradox / Paradox; Yesterday; Loop; Chrono
dystopia: a rebel in a surveillance state; a factory worker / a walled city; an underground bunker / overthrows the ruling regime; escapes a deadly game; awakens a controlled population / Ration; District; Regime; Sector
alien invasion: a farmer who sees lights; a linguist / a crash site in Nevada; a mothership over the city / resists the alien invaders; decodes an alien language; hides from tripods / Contact; Visitors; Invasion; Signal
""",
    "Sports": """
football: a teenage striker; a relegated football club / a muddy pitch; a packed stadium in Rio / scores in the cup final; fights relegation; is signed by a giant club / Striker; Penalty; Derby; Stadium
boxing: a washed-up boxer; a female featherweight / a gym in Philadelphia; a title fight in Las Vegas / goes twelve rounds with the champion; makes weight at any cost; returns to the ring / Knockout; Ringside; Round; Gloves
motor racing: a Formula One driver; a pit crew chief / the circuit of Monaco; a rain-soaked track / fights for pole position; rebuilds an engine overnight; survives a fiery crash / Grid; Pit Lane; Chicane; Podium
basketball: a streetball point guard; a college coach / a playground in Chicago; a college arena / hits the buzzer-beater; rebuilds a losing team; chooses between the league and school / Rebound; Court; Buzzer; Dunk
olympians: a marathon runner; a gymnast / an Olympic village; a high-altitude training camp / trains for Olympic gold; is tested for doping; breaks the world record / Marathon; Vault; Medal; Sprint
""",
}


@dataclass(frozen=True)
class Theme:
    """What stories of one theme are told with; `genre` indexes `GENRES`."""

    genre: int
    name: str
    leads: tuple[str, ...]
    places: tuple[str, ...]
    plots: tuple[str, ...]
    nouns: tuple[str, ...]


def _theme(genre: int, line: str) -> Theme:
    name, rest = line.split(": ", 1)
    leads, places, plots, nouns = (tuple(part.strip().split("; ")) for part in rest.split(" / "))
    return Theme(genre, name, leads, places, plots, nouns)


GENRES = tuple(_TEXT)
THEMES = tuple(_theme(genre, line) for genre, text in enumerate(_TEXT.values()) for line in text.strip().splitlines())
ADJECTIVES = (
    "Last", "Silent", "Broken", "Golden", "Hidden", "Wild", "Crimson", "Lost", "Endless", "Secret", "Burning", "Northern",
    "Hollow", "Bright", "Bitter", "Distant", "Restless", "Second", "Forgotten", "Velvet", "Iron", "Winter", "Quiet", "Final",
)  # fmt: skip
TONES = (
    "gripping",
    "tender",
    "darkly funny",
    "sweeping",
    "moving",
    "fast-paced",
    "haunting",
    "warm-hearted",
    "stark",
)
FIRST_NAMES = (
    "Ana", "Bruno", "Chloe", "Daniel", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Keiko", "Luis", "Meera", "Nikhil",
    "Olga", "Pedro", "Quentin", "Rosa", "Sven", "Tariq", "Uma", "Victor", "Wanda", "Ximena", "Yuki", "Zoe", "Min-jun", "Arjun",
)  # fmt: skip
LAST_NAMES = (
    "Abbott", "Bauer", "Castillo", "Duarte", "Eriksen", "Fischer", "Gupta", "Hayashi", "Ibrahim", "Jensen", "Kim", "Lopez",
    "Moreau", "Nakamura", "Okafor", "Petrov", "Quinn", "Rossi", "Sharma", "Tanaka", "Ueda", "Vargas", "Walsh", "Xu", "Yilmaz",
    "Zimmer", "Silva", "Park", "Laurent", "Mehta",
)  # fmt: skip
